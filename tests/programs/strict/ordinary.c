//! What a static C program that computes calls of its library: files, threads, timers, waiting. For evidence of the
//! profile `strict`, see README.md beside this. Argument: an empty directory.

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char buffer[256];

static int must(long value, const char *what) {
    if (value < 0) {
        perror(what);
        exit(1);
    }
    return (int)value;
}

static void files(void) {
    struct stat about;
    umask(022);
    must(getcwd(buffer, sizeof buffer) ? 0 : -1, "getcwd");
    must(mkdir("d", 0755), "mkdir");
    FILE *stream = fopen("d/a", "w+");
    fprintf(stream, "hello\n");
    fflush(stream);
    must(fsync(fileno(stream)), "fsync");
    must(fdatasync(fileno(stream)), "fdatasync");
    must(ftruncate(fileno(stream), 3), "ftruncate");
    rewind(stream);
    must(fgets(buffer, sizeof buffer, stream) ? 0 : -1, "fgets");
    fclose(stream);
    must(rename("d/a", "d/b"), "rename");
    must(stat("d/b", &about), "stat");
    must(lstat("d/b", &about), "lstat");
    must(access("d/b", R_OK), "access");
    must(readlink("/proc/self/exe", buffer, sizeof buffer), "readlink");
    int file = must(open("d/b", O_RDWR | O_CLOEXEC), "open");
    struct iovec part = {buffer, 2};
    struct flock lock = {.l_type = F_WRLCK};
    must(fstat(file, &about), "fstat");
    must(pread(file, buffer, 2, 0), "pread");
    must(pwrite(file, "x", 1, 0), "pwrite");
    must(readv(file, &part, 1), "readv");
    must(writev(file, &part, 1), "writev");
    must(flock(file, LOCK_EX), "flock");
    must(fcntl(file, F_SETLK, &lock), "fcntl");
    int copy = must(dup(file), "dup");
    must(dup2(file, copy), "dup2");
    close(copy);
    must(futimens(file, NULL), "futimens");
    must(fchmod(file, 0600), "fchmod");
    must(posix_fallocate(file, 0, 4096) ? -1 : 0, "posix_fallocate");
    char *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    must(mapped == MAP_FAILED ? -1 : 0, "mmap");
    must(msync(mapped, 4096, MS_SYNC), "msync");
    munmap(mapped, 4096);
    close(file);
    DIR *directory = opendir("d");
    while (readdir(directory))
        ;
    closedir(directory);
    must(unlink("d/b"), "unlink");
    must(rmdir("d"), "rmdir");
}

static void *in_thread(void *nothing) {
    usleep(1000);
    return nothing;
}

static void on_signal(int signal) { (void)signal; }

static void threads_and_signals(void) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, in_thread, NULL) ? -1 : 0, "pthread_create");
    pthread_setname_np(thread, "worker");
    pthread_join(thread, NULL);
    sched_yield();
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    must(sigaction(SIGALRM, &action, NULL), "sigaction");
    must(sigprocmask(SIG_BLOCK, &set, NULL), "sigprocmask");
    must(raise(SIGALRM), "raise");
    stack_t stack = {.ss_sp = malloc(SIGSTKSZ), .ss_size = SIGSTKSZ};
    must(sigaltstack(&stack, NULL), "sigaltstack");
}

static void waiting(void) {
    struct timespec soon = {0, 1000};
    struct timeval later = {0, 100};
    struct pollfd input = {0, POLLIN, 0};
    struct epoll_event event = {EPOLLIN, {0}};
    struct itimerspec once = {{0, 0}, {0, 1000}};
    fd_set set;
    int ends[2];
    FD_ZERO(&set);
    nanosleep(&soon, NULL);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &soon, NULL);
    must(poll(&input, 1, 1), "poll");
    must(select(1, &set, NULL, NULL, &later), "select");
    int epoll = must(epoll_create1(0), "epoll_create1");
    int counter = must(eventfd(0, EFD_CLOEXEC), "eventfd");
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event), "epoll_ctl");
    must(epoll_wait(epoll, &event, 1, 1), "epoll_wait");
    int timer = must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd_create");
    must(timerfd_settime(timer, 0, &once, NULL), "timerfd_settime");
    must(read(timer, buffer, 8), "read");
    must(pipe(ends), "pipe");
    must(pipe2(ends, O_CLOEXEC), "pipe2");
}

int main(int count, char **arguments) {
    must(count > 1 ? chdir(arguments[1]) : -1, "chdir");
    files();
    threads_and_signals();
    waiting();
    void *memory = malloc(1 << 20);
    free(realloc(memory, 1 << 22));
    must(getrandom(buffer, 8, 0), "getrandom");
    must(gethostname(buffer, sizeof buffer), "gethostname");
    printf("%d %d %d %d %d %d, %s, %ld\n", getpid(), getppid(), getuid(), geteuid(), getgid(), getegid(),
           isatty(1) ? "terminal" : "no terminal", sysconf(_SC_NPROCESSORS_ONLN));
    return 0;
}
