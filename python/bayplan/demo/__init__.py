"""The package's main job in miniature: ensembles of stiff systems on one run per lane.

Every part of the integrator is a `bayplan.CUDAFactory` that registers its own buffers::

    EnsembleLoop
        StepController
        RosenbrockStep                  or  DirkStep
            RightHandSide                       Jacobian
            Jacobian                            NewtonSolver
            LUSolver or BiCGSTABSolver              RightHandSide
                                                    LUSolver or BiCGSTABSolver

``python -m bayplan demo`` solves published problems with it, checks every result, and shows
where the buffers lie.  Nothing is imported here: Numba decides between a GPU and its simulator
once, when it is imported, and that is left to the command line (`bayplan.demo.device`).
"""
