/* replay.c - runs a fuzzer without libFuzzer.
 *
 *     replay PATH...           every file, and every file of every folder
 *     replay -random=N [SEED]  N inputs from a seeded generator
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static size_t n_run;

static int run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t n_bytes = fread(data, 1, sizeof data, file);
    int is_bad = ferror(file);
    (void)fclose(file);
    if (is_bad) {
        perror(path);
        return 1;
    }
    /* A copy of its own, so that reading beyond the end is seen. */
    uint8_t *copy = malloc(n_bytes == 0 ? 1 : n_bytes);
    if (copy == NULL) {
        return 1;
    }
    memcpy(copy, data, n_bytes);
    (void)LLVMFuzzerTestOneInput(copy, n_bytes);
    free(copy);
    n_run++;
    return 0;
}

static int run_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(info.st_mode)) {
        return run_file(path);
    }
    DIR *folder = opendir(path);
    if (folder == NULL) {
        perror(path);
        return 1;
    }
    int n_failed = 0;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char inner[4096];
        if (entry->d_name[0] == '.') {
            continue;
        }
        int n = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        n_failed += n < 0 || (size_t)n >= sizeof inner || run_path(inner) != 0;
    }
    (void)closedir(folder);
    return n_failed != 0;
}

/* splitmix64 */
static uint64_t random_u64(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void run_random(uint64_t n_inputs, uint64_t seed)
{
    uint8_t data[1024];
    for (uint64_t i = 0; i < n_inputs; i++) {
        size_t n_bytes = (size_t)(random_u64(&seed) % sizeof data);
        for (size_t k = 0; k < n_bytes; k++) {
            data[k] = (uint8_t)random_u64(&seed);
        }
        (void)LLVMFuzzerTestOneInput(data, n_bytes);
        n_run++;
    }
}

int main(int argc, char **argv)
{
    static const char flag[] = "-random=";
    int n_failed = 0;
    if (argc > 1 && strncmp(argv[1], flag, sizeof flag - 1) == 0) {
        run_random(strtoull(argv[1] + sizeof flag - 1, NULL, 10),
                   argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    } else {
        for (int i = 1; i < argc; i++) {
            n_failed += run_path(argv[i]);
        }
    }
    printf("%zu inputs\n", n_run);
    return n_failed != 0 || n_run == 0;
}
