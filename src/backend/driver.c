/* driver.c - is there a CUDA device? The driver's library is looked for when
 * asked, not when this library is loaded. */
#include "bayplan/backend.h"

#include "base/text.h"

#include <dlfcn.h>
#include <string.h>

/* The driver's entry points as they are called; a CUresult is an int, 0 for
 * success. */
typedef int (*driver_init)(unsigned flags);
typedef int (*driver_device_count)(int *count);
typedef int (*driver_error_text)(int code, const char **text);

/* dlsym gives an object's address; a function's has the same size on every
 * system that has dlsym. NULL: there is none of that name. */
static void find(void *library, const char *name, void *function_slot)
{
    void *address = dlsym(library, name);
    memcpy(function_slot, &address, sizeof address);
}

static void put_code(bp_text *tried, void *library, int code)
{
    const char *text = NULL;
    driver_error_text error_text;
    find(library, "cuGetErrorString", &error_text);
    if (error_text != NULL && error_text(code, &text) == 0 && text != NULL) {
        bp__text_printf(tried, "%d (%s)", code, text);
    } else {
        bp__text_printf(tried, "%d", code);
    }
}

/* Neither call makes a context. */
static bool has_device(void *library, const char *name, bp_text *tried)
{
    driver_init init;
    driver_device_count device_count;
    find(library, "cuInit", &init);
    find(library, "cuDeviceGetCount", &device_count);
    if (init == NULL || device_count == NULL) {
        bp__text_printf(tried, "%s: no cuInit or no cuDeviceGetCount in it",
                        name);
        return false;
    }
    int code = init(0);
    if (code != 0) {
        bp__text_printf(tried, "%s: cuInit gave ", name);
        put_code(tried, library, code);
        return false;
    }
    int n_devices = 0;
    code = device_count(&n_devices);
    if (code != 0) {
        bp__text_printf(tried, "%s: cuDeviceGetCount gave ", name);
        put_code(tried, library, code);
        return false;
    }
    if (n_devices <= 0) {
        bp__text_printf(tried, "%s: it has no device", name);
    }
    return n_devices > 0;
}

/* A library that was opened stays open: a driver does not expect to be taken
 * away, and the next question finds it at once. */
static bool try_library(const char *name, bp_text *tried)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        return has_device(library, name, tried);
    }
    const char *why = dlerror();
    if (why == NULL) {
        why = "it does not open";
    }
    size_t n_name = strlen(name);
    if (strncmp(why, name, n_name) == 0 && why[n_name] == ':') {
        bp__text_put(tried, why);
    } else {
        bp__text_printf(tried, "%s: %s", name, why);
    }
    return false;
}

bp_status bp_driver_probe(bp_error *error)
{
    static const char *const names[] = {"libcuda.so.1", "libcuda.so"};
    char buffer[sizeof error->text];
    bp_text tried;
    bp__text_init_bounded(&tried, buffer, sizeof buffer);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bp__text_put(&tried, i == 0 ? "" : "; ");
        if (try_library(names[i], &tried)) {
            return BP_OK;
        }
    }
    return bp_fail(error, BP_NO_DEVICE, "no CUDA device answers: %s", buffer);
}
