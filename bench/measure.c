/* Runs commands one after the other, round by round (A B A B ...), and prints the cost of each run.
 *
 *   measure [-n ROUNDS] -- [OPTIONS] COMMAND [ARG...] [++ [OPTIONS] COMMAND [ARG...]]...
 *
 * Options of one command: -m FILE (run it in the mount namespace FILE), -t (run it on a new terminal).
 * One line for each run: round, number of the command, wait status, wall nanoseconds, user and system CPU in
 * microseconds, peak resident memory in KiB (the largest of the process and the descendants it waited for).
 *
 * This is a separate program because getrusage(2) counts the memory that a process had before its exec: a child of a
 * Python or Rust harness would never be smaller than the harness. This program is static and uses almost no memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct command { char **argv; int mount_ns; int terminal; };

static void die(const char *what) { fprintf(stderr, "measure: %s: %s\n", what, strerror(errno)); exit(125); }

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long micros(struct timeval t) { return t.tv_sec * 1000000LL + t.tv_usec; }

static int open_terminal(char *name, size_t size) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, name, size)) die("open a pty");
    return master;
}

/* Between vfork and exec: system calls only. */
static void child(const struct command *c, const char *pty, int null) {
    if (c->mount_ns >= 0 && setns(c->mount_ns, CLONE_NEWNS)) _exit(125);
    if (c->terminal) {
        setsid();
        int slave = open(pty, O_RDWR);
        if (slave < 0 || ioctl(slave, TIOCSCTTY, 0)) _exit(125);
        dup2(slave, 0), dup2(slave, 1), dup2(slave, 2);
        if (slave > 2) close(slave);
    } else {
        dup2(null, 0), dup2(null, 1);
    }
    execvp(c->argv[0], c->argv);
    _exit(127);
}

static pid_t spawn(const struct command *c, const char *pty, int null) {
    pid_t pid = vfork();
    if (pid < 0) die("vfork");
    if (pid == 0) child(c, pty, null);
    return pid;
}

static void run(const struct command *c, int round, int number, int null) {
    char pty[64] = "";
    int master = c->terminal ? open_terminal(pty, sizeof pty) : -1;
    long long start = now();
    pid_t pid = spawn(c, pty, null);
    if (master >= 0) {
        char drained[4096];
        /* EIO: the last process has closed its end. */
        while (read(master, drained, sizeof drained) > 0 || errno == EINTR) { }
    }
    int status;
    struct rusage used;
    if (wait4(pid, &status, 0, &used) != pid) die("wait4");
    long long wall = now() - start;
    if (master >= 0) close(master);
    printf("%d %d %d %lld %lld %lld %ld\n", round, number, status, wall, micros(used.ru_utime), micros(used.ru_stime), used.ru_maxrss);
}

int main(int argc, char **argv) {
    int rounds = 1, at = 1, count = 0;
    if (argc > 2 && !strcmp(argv[1], "-n")) rounds = atoi(argv[2]), at = 3;
    if (at >= argc || strcmp(argv[at], "--")) { fprintf(stderr, "usage: measure [-n ROUNDS] -- COMMAND [++ COMMAND]...\n"); return 2; }
    struct command *commands = calloc(argc, sizeof *commands);
    if (!commands) die("calloc");
    for (at++; at < argc; count++) {
        struct command *c = &commands[count];
        c->mount_ns = -1;
        for (; at < argc && argv[at][0] == '-'; at++) {
            if (!strcmp(argv[at], "-t")) c->terminal = 1;
            else if (!strcmp(argv[at], "-m") && at + 1 < argc) {
                c->mount_ns = open(argv[++at], O_RDONLY | O_CLOEXEC);
                if (c->mount_ns < 0) die(argv[at]);
            }
        }
        c->argv = argv + at;
        while (at < argc && strcmp(argv[at], "++")) at++;
        argv[at] = NULL; /* argv[argc] is NULL already; "++" is no longer needed */
        at++;
        if (!c->argv[0]) { fprintf(stderr, "measure: an empty command\n"); return 2; }
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) die("/dev/null");
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++) run(&commands[i], round, i, null);
    return 0;
}
