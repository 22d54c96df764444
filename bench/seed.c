/* The result of a first lesson on containers: a process in new pid and uts namespaces, with a hostname, an
 * empty environment, a changed root and its own /proc. No mount namespace, no overlay, no cgroup, no capabilities, no
 * seccomp: it shows the cost of the basic ideas, and is not a sandbox.
 *
 *   seed ROOTFS COMMAND [ARG...]
 *
 * /proc is mounted into ROOTFS on the host, as such lessons do, and unmounted at the end. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[64 * 1024] __attribute__((aligned(16)));

static int fail(const char *what) { perror(what); return 125; }

static int contained(void *arguments) {
    char **argv = arguments;
    if (sethostname("seed", 4)) return fail("sethostname");
    if (chroot(argv[1])) return fail("chroot");
    if (chdir("/")) return fail("chdir /");
    if (mount("proc", "/proc", "proc", 0, NULL)) return fail("mount proc on /proc");
    char *environment[] = {"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "TERM=xterm", NULL};
    execvpe(argv[2], argv + 2, environment);
    return fail(argv[2]);
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: seed ROOTFS COMMAND [ARG...]\n"), 2;
    pid_t pid = clone(contained, stack + sizeof stack, CLONE_NEWPID | CLONE_NEWUTS | SIGCHLD, argv);
    if (pid < 0) return fail("clone");
    int status;
    if (waitpid(pid, &status, 0) < 0) return fail("waitpid");
    char proc[4096];
    snprintf(proc, sizeof proc, "%s/proc", argv[1]);
    if (umount2(proc, MNT_DETACH)) return fail("unmount /proc");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
