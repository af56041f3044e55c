/* The subcommand `vireo check`: can this host run a stock kernel? */
#ifndef VMM_CHECK_H
#define VMM_CHECK_H

/* Prints one line; returns 0 or EXIT_NO_KVM. */
int check_main(void);

#endif
