/* Another user who attacks a copy.
 *
 * race swap DIR UID:   as UID, replaces whatever appears in DIR at once: a file by a program of UID, a directory by an open
 *                      directory of UID, in which it does the same.
 * race follow DIR UID: as UID, does the same for files, in all directories below DIR that UID can enter, and keeps directories.
 * race whirl DIR:      creates in DIR a directory `a`, a link `b` that leads to the root by many `..`, and a pipe `c`, and exchanges
 *                      their names as fast as it can; also moves a directory up and down.
 *
 * Ends by itself after two minutes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WATCHES = 4096 };
static char *watched[WATCHES];
static int in, swaps;
static char evil[PATH_MAX];

static void watch(const char *dir, int deep)
{
	int number = inotify_add_watch(in, dir, IN_CREATE | IN_ATTRIB | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW);
	if (number < 0 || number >= WATCHES || watched[number])
		return;
	watched[number] = strdup(dir);
	DIR *list = deep ? opendir(dir) : 0;
	if (!list)
		return;
	for (struct dirent *entry; (entry = readdir(list));) {
		char path[PATH_MAX];
		if (entry->d_name[0] == '.' && strlen(entry->d_name) < 3)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (entry->d_type == DT_DIR)
			watch(path, 1);
	}
	closedir(list);
}

static void prepare(const char *dir)
{
	snprintf(evil, sizeof evil, "%s/evil%d", dir, swaps++);
	int file = open(evil, O_CREAT | O_WRONLY | O_TRUNC, 0755);
	if (write(file, "#!/bin/evil\n", 12) != 12)
		_exit(3);
	close(file);
}

static int against(const char *dir, uid_t uid, int swap)
{
	if (setgid(uid) || setuid(uid))
		return 2;
	umask(0);
	in = inotify_init1(IN_CLOEXEC);
	prepare(dir);
	watch(dir, !swap);
	puts("ready");
	fflush(stdout);
	for (;;) {
		static char events[1 << 16] __attribute__((aligned(8)));
		ssize_t length = read(in, events, sizeof events);
		for (char *at = events; at < events + length;) {
			struct inotify_event *event = (void *)at;
			at += sizeof *event + event->len;
			if (!event->len || !strncmp(event->name, "evil", 4) || strstr(event->name, ".away"))
				continue;
			char path[PATH_MAX], away[PATH_MAX + 32];
			struct stat stat;
			snprintf(path, sizeof path, "%s/%s", watched[event->wd], event->name);
			if (!(event->mask & IN_ISDIR)) {
				if ((event->mask & IN_CREATE) && !rename(evil, path))
					prepare(dir);
			} else if (!swap) {
				watch(path, 1);
			} else if ((event->mask & IN_CREATE) && !lstat(path, &stat) && stat.st_uid != uid) {
				snprintf(away, sizeof away, "%s.away%d", path, swaps++);
				if (!rename(path, away) && !mkdir(path, 0777))
					watch(path, 0);
			}
		}
	}
}

static int whirl(const char *dir)
{
	if (chdir(dir) || mkdir("a", 0755) || mkdir("a/in", 0755) || mkdir("d", 0755) || mkdir("d/e", 0755))
		return 2;
	if (symlink("../../../../../../../../..", "b") || mkfifo("c", 0644))
		return 2;
	puts("ready");
	fflush(stdout);
	for (;;) {
		renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE);
		rename("d/e", "e");
		renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_EXCHANGE);
		rename("e", "d/e");
		renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE);
	}
}

int main(int count, char **words)
{
	alarm(120);
	if (count == 4)
		return against(words[2], atoi(words[3]), !strcmp(words[1], "swap"));
	return count == 3 ? whirl(words[2]) : 2;
}
