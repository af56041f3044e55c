/* The subcommand `vireo run`. */
#ifndef VMM_RUN_H
#define VMM_RUN_H

/* `argv` is what follows "run". Returns the program's exit status (exit_status.h). */
int run_main(int argc, char **argv);

#endif
