// Programs that use sockets wrongly, each in one way, and some that do it right: `mistakes NAME` plays both ends on loopback.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in address = {.sin_family = AF_INET};
static socklen_t length = sizeof address;

static void must(int is, const char *what) {
    if (!is) {
        perror(what);
        exit(70);
    }
}

static int reuses;

static void reuse(int fd) {
    must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuses, sizeof reuses) == 0, "SO_REUSEADDR");
}

static int listening(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (reuses) reuse(fd);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = 0;
    must(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(fd, 8) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)&address, &length) == 0, "getsockname");
    return fd;
}

static int connected(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return fd;
}

// A socket that cannot have the port.
static void refused_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (reuses) reuse(fd);
    must(bind(fd, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE, "bind");
    close(fd);
}

static int listener, client, server;

static void pair(void) {
    listener = listening();
    client = connected();
    server = accept(listener, 0, 0);
    must(server >= 0, "accept");
}

static void take(int fd, size_t count) {
    char room[4096];
    while (count > 0) {
        ssize_t got = recv(fd, room, count < sizeof room ? count : sizeof room, 0);
        must(got > 0, "recv");
        count -= got;
    }
}

static void end(int fd) {
    char room[16];
    must(recv(fd, room, sizeof room, 0) == 0, "the end");
}

// Waits until the peer's RST or FIN is there, without reading.
static void hung_up(int fd) {
    struct pollfd wanted = {.fd = fd, .events = POLLRDHUP};
    must(poll(&wanted, 1, 10000) == 1, "poll");
}

static void hung_up_or_readable(int fd) {
    struct pollfd wanted = {.fd = fd, .events = POLLIN | POLLRDHUP};
    must(poll(&wanted, 1, 10000) == 1, "poll");
}

static void right(void) {
    pair();
    must(send(client, "hello", 5, 0) == 5, "send");
    take(server, 5);
    must(send(server, "world", 5, 0) == 5, "send");
    take(client, 5);
    close(client);
    end(server);
    close(server);
    close(listener);
}

static void *nothing(void *unused) { return unused; }

static void *waits(void *unused) {
    char room[16];
    recv(client, room, sizeof room, 0);
    return unused;
}

// A thread that sleeps in recv, as /proc says.
static pthread_t waiting(void) {
    pthread_t thread;
    must(pthread_create(&thread, 0, waits, 0) == 0, "pthread_create");
    for (int asleep = 0; !asleep;) {
        char line[512];
        FILE *list = popen("cat /proc/$PPID/task/*/syscall", "r");
        must(list != 0, "popen");
        while (fgets(line, sizeof line, list)) asleep |= atoi(line) == 45;
        pclose(list);
    }
    return thread;
}

static void *executes(void *unused) {
    execl("/bin/sh", "sh", "-c", "exit 6", (char *)0);
    return unused;
}

static void forking(void) {
    listener = listening();
    pid_t child = fork();
    if (child == 0) {
        close(listener);
        client = connected();
        must(send(client, "hello", 5, 0) == 5, "send");
        take(client, 5);
        close(client);
        _exit(3);
    }
    server = accept(listener, 0, 0);
    int ways[2];
    must(pipe(ways) == 0, "pipe");
    pid_t worker = fork();
    if (worker == 0) {
        char octet;
        must(read(ways[0], &octet, 1) == 1, "read");
        close(listener);
        take(server, 5);
        must(send(server, "world", 5, 0) == 5, "send");
        end(server);
        close(server);
        _exit(0);
    }
    close(server);
    must(write(ways[1], "x", 1) == 1, "write");
    int status;
    must(waitpid(worker, &status, 0) == worker, "waitpid");
    must(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3, "waitpid");
    close(listener);
}

static void play(const char *name) {
    char room[4096] = {0};
    int on = 1;
    if (!strcmp(name, "right")) {
        right();
    } else if (!strcmp(name, "forking")) {
        forking();
    } else if (!strcmp(name, "vectors")) {
        pair();
        struct iovec pieces[2] = {{"hel", 3}, {"lo", 2}};
        must(writev(client, pieces, 2) == 5, "writev");
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
        take(server, 5);
        must(sendmsg(client, &message, MSG_NOSIGNAL) == 5, "sendmsg");
        must(recv(server, room, 5, MSG_PEEK | MSG_WAITALL) == 5, "peek");
        must(read(server, room, sizeof room) == 5, "read");
        int copy = dup(server);
        close(server);
        must(write(copy, "world", 5) == 5, "write");
        take(client, 5);
        shutdown(copy, SHUT_WR);
        end(client);
        close(client);
        end(copy);
        close(copy);
        close(listener);
    } else if (!strcmp(name, "passed")) {
        pair();
        int ways[2];
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, ways) == 0, "socketpair");
        char control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec piece = {"x", 1};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(header), &server, sizeof server);
        pid_t child = fork();
        if (child == 0) {
            close(server);
            close(client);
            close(listener);
            char octet;
            struct iovec piece = {&octet, 1};
            message.msg_iov = &piece;
            must(recvmsg(ways[1], &message, 0) == 1, "recvmsg");
            memcpy(&server, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof server);
            must(read(ways[1], &octet, 1) == 1, "read");
            must(send(server, "hello", 5, 0) == 5, "send");
            end(server);
            close(server);
            _exit(0);
        }
        must(sendmsg(ways[0], &message, 0) == 1, "sendmsg");
        close(server);
        must(write(ways[0], "x", 1) == 1, "write");
        take(client, 5);
        close(client);
        must(waitpid(child, 0, 0) == child, "waitpid");
        close(listener);
    } else if (!strcmp(name, "refused")) {
        int unused = listening();
        close(unused);
        client = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(client, (struct sockaddr *)&address, sizeof address) == -1 && errno == ECONNREFUSED, "refused");
        close(client);
    } else if (!strcmp(name, "refused_later")) {
        int unused = listening();
        close(unused);
        client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        must(connect(client, (struct sockaddr *)&address, sizeof address) == -1 && errno == EINPROGRESS, "in progress");
        struct pollfd wanted = {.fd = client, .events = POLLOUT};
        must(poll(&wanted, 1, 10000) == 1, "poll");
        int error;
        socklen_t size = sizeof error;
        must(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == ECONNREFUSED, "SO_ERROR");
        close(client);
    } else if (!strcmp(name, "unread")) {
        pair();
        must(send(client, "helloworld", 10, 0) == 10, "send");
        must(recv(server, room, 4, MSG_WAITALL) == 4, "recv");
        close(server);
        hung_up(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "linger")) {
        pair();
        struct linger none = {1, 0};
        must(setsockopt(server, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "setsockopt");
        close(server);
        hung_up(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "linger_inherited")) {
        // What listens hands it on to what it accepts.
        listener = listening();
        struct linger none = {1, 0};
        must(setsockopt(listener, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "setsockopt");
        client = connected();
        server = accept(listener, 0, 0);
        close(server);
        hung_up(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "linger_and_unread")) {
        // The kernel looks for unread octets first.
        pair();
        struct linger none = {1, 0};
        must(setsockopt(server, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "setsockopt");
        must(send(client, "hello", 5, 0) == 5, "send");
        hung_up_or_readable(server);
        close(server);
        hung_up(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "linger_taken_back")) {
        pair();
        struct linger none = {1, 0}, off = {0, 0};
        must(setsockopt(server, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "setsockopt");
        must(setsockopt(server, SOL_SOCKET, SO_LINGER, &off, sizeof off) == 0, "setsockopt");
        close(server);
        end(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "sent_late")) {
        pair();
        close(server);
        must(send(client, "x", 1, 0) == 1, "send");
        hung_up(client);
        // The RST may still be on its way: what the kernel says of the socket is waited for.
        struct tcp_info info;
        do {
            socklen_t size = sizeof info;
            must(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
        } while (info.tcpi_state != TCP_CLOSE);
        must(send(client, "y", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "EPIPE");
        close(client);
        close(listener);
    } else if (!strcmp(name, "sigpipe")) {
        pair();
        shutdown(client, SHUT_WR);
        send(client, "y", 1, 0);
        must(0, "SIGPIPE");
    } else if (!strcmp(name, "leak")) {
        pair();
        close(client);
        end(server);
        client = connected();
        int second = accept(listener, 0, 0);
        close(client);
        end(second);
        close(second);
        close(listener);
    } else if (!strcmp(name, "busy")) {
        pair();
        close(client);
        for (int n = 0; n < 5000; n++) must(recv(server, room, sizeof room, 0) == 0, "recv");
        close(server);
        close(listener);
    } else if (!strcmp(name, "busy_polling")) {
        pair();
        close(client);
        for (int n = 0; n < 50; n++) {
            hung_up_or_readable(server);
            must(recv(server, room, sizeof room, 0) == 0, "recv");
        }
        close(server);
        close(listener);
    } else if (!strcmp(name, "kept")) {
        pair();
        must(send(client, "hello", 5, 0) == 5, "send");
        take(server, 5);
        int ways[2];
        must(pipe(ways) == 0, "pipe");
        pid_t child = fork();
        if (child == 0) {
            close(ways[1]);
            must(read(ways[0], room, 1) == 0, "read");
            _exit(0);
        }
        close(ways[0]);
        close(client);
        struct pollfd wanted = {.fd = server, .events = POLLIN};
        must(poll(&wanted, 1, 50) == 0, "no FIN");
        close(ways[1]);
        must(waitpid(child, 0, 0) == child, "waitpid");
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "exits")) {
        pair();
        int ways[2];
        must(pipe(ways) == 0, "pipe");
        pid_t child = fork();
        if (child == 0) {
            close(server);
            close(listener);
            close(ways[1]);
            must(read(ways[0], room, 1) == 0, "read");
            _exit(0);
        }
        close(client);
        close(ways[1]);
        end(server);
        close(server);
        close(listener);
        must(waitpid(child, 0, 0) == child, "waitpid");
    } else if (!strcmp(name, "in_use")) {
        listener = listening();
        int second = socket(AF_INET, SOCK_STREAM, 0);
        must(bind(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE, "bind");
        close(second);
        close(listener);
    } else if (!strcmp(name, "in_time_wait")) {
        pair();
        close(server);
        end(client);
        close(client);
        close(listener);
        int second = socket(AF_INET, SOCK_STREAM, 0);
        must(bind(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE, "bind");
        close(second);
    } else if (!strcmp(name, "bound_by_another")) {
        listener = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
        refused_port();
        close(listener);
    } else if (!strcmp(name, "port_of_a_connection")) {
        // The listener is gone, and what it accepted is not.
        pair();
        close(listener);
        refused_port();
        close(client);
        end(server);
        close(server);
    } else if (!strcmp(name, "listened_on_and_waiting")) {
        // SO_REUSEADDR allows for TIME-WAIT, and not for a socket that listens.
        reuses = 1;
        pair();
        close(server);
        end(client);
        close(client);
        refused_port();
        close(listener);
    } else if (!strcmp(name, "waiting_without_reuse")) {
        // It takes SO_REUSEADDR on both.
        pair();
        close(server);
        end(client);
        close(client);
        close(listener);
        reuses = 1;
        refused_port();
    } else if (!strcmp(name, "no_second_listener")) {
        reuses = 1;
        int second = socket(AF_INET, SOCK_STREAM, 0);
        listener = socket(AF_INET, SOCK_STREAM, 0);
        reuse(listener), reuse(second);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
        must(bind(second, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        must(listen(listener, 8) == 0, "listen");
        must(listen(second, 8) == -1 && errno == EADDRINUSE, "listen");
        close(second);
        close(listener);
    } else if (!strcmp(name, "reuse_in_time")) {
        // Before the bind that works; that it failed before is another matter.
        listener = listening();
        int second = socket(AF_INET, SOCK_STREAM, 0);
        must(bind(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE, "bind");
        close(listener);
        reuses = 1;
        reuse(second);
        must(bind(second, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        close(second);
    } else if (!strcmp(name, "refused_at_first_send")) {
        int unused = listening();
        close(unused);
        client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        must(connect(client, (struct sockaddr *)&address, sizeof address) == -1 && errno == EINPROGRESS, "in progress");
        struct pollfd wanted = {.fd = client, .events = POLLOUT};
        must(poll(&wanted, 1, 10000) == 1, "poll");
        must(send(client, "hello", 5, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED, "send");
        close(client);
    } else if (!strcmp(name, "file_closed_twice")) {
        // The number was a socket's, and is a file's by then.
        pair();
        close(client);
        end(server);
        close(server);
        must(open("/dev/null", O_RDONLY) == client && close(client) == 0, "open");
        must(close(client) == -1 && errno == EBADF, "close");
        close(listener);
    } else if (!strcmp(name, "copy_closed_while_waited")) {
        pair();
        int copy = dup(client);
        pthread_t thread = waiting();
        close(copy);
        must(send(server, "hello", 5, 0) == 5, "send");
        pthread_join(thread, 0);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "shut_down_before_close")) {
        pair();
        pthread_t thread = waiting();
        shutdown(client, SHUT_RDWR);
        close(client);
        pthread_join(thread, 0);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "reuse_late")) {
        listener = listening();
        must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "setsockopt");
        close(listener);
    } else if (!strcmp(name, "closed_twice")) {
        pair();
        close(client);
        end(server);
        close(server);
        must(close(server) == -1 && errno == EBADF, "close");
        close(listener);
    } else if (!strcmp(name, "no_socket")) {
        int fd;
        if ((fd = socket(AF_INET, SOCK_STREAM, 0) == -1)) exit(70);
        int file = open("/dev/null", O_RDONLY);
        dup2(file, fd);
        must(listen(fd, 5) == -1 && errno == ENOTSOCK, "listen");
    } else if (!strcmp(name, "never_accepted")) {
        listener = listening();
        client = connected();
        close(listener);
        hung_up(client);
        close(client);
    } else if (!strcmp(name, "waited_on")) {
        pair();
        waiting();
        close(client);
        close(server);
        close(listener);
        _exit(0);
    } else if (!strcmp(name, "echo_cut")) {
        pair();
        must(send(client, "ab\0cd", 5, 0) == 5, "send");
        must(recv(server, room, 5, MSG_WAITALL) == 5, "recv");
        must(send(server, room, strlen(room), 0) == 2, "send");
        take(client, 2);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "echo_beyond")) {
        struct {
            char text[8];
            char after[8];
        } both = {{0}, "secret"};
        pair();
        must(send(client, "abcdefgh", 8, 0) == 8, "send");
        must(recv(server, both.text, 8, MSG_WAITALL) == 8, "recv");
        size_t count = strlen((char *)&both);
        must(send(server, &both, count, 0) == (ssize_t)count, "send");
        take(client, count);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "zeros")) {
        pair();
        must(send(client, strcpy(room, "hi"), 128, 0) == 128, "send");
        take(server, 128);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "joined")) {
        pair();
        must(send(client, "one", 3, 0) == 3 && send(client, "two", 3, 0) == 3, "send");
        must(recv(server, room, 6, MSG_WAITALL) == 6, "recv");
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "length") || !strcmp(name, "length_elsewhere")) {
        listener = listening();
        client = connected();
        struct sockaddr_in from;
        // What a variable that was never set may hold, on the stack or in no place near its top.
        static socklen_t elsewhere = (socklen_t)-1;
        socklen_t here = (socklen_t)-1, *never_set = strcmp(name, "length") ? &elsewhere : &here;
        must(accept(listener, (struct sockaddr *)&from, never_set) == -1 && errno == EINVAL, "accept");
        // As servers do it goes on, so that its memory is there to be read.
        poll(0, 0, never_set == &elsewhere ? 200 : 0);
        end(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "length_zero") || !strcmp(name, "length_huge")) {
        listener = listening();
        client = connected();
        struct sockaddr_in from = {0};
        int is_zero = !strcmp(name, "length_zero");
        // What else it may hold: the upper half of a pointer, mostly.
        socklen_t never_set = is_zero ? 0 : 32767;
        server = accept(listener, (struct sockaddr *)&from, &never_set);
        must(server >= 0 && never_set == sizeof from && (from.sin_port == 0) == is_zero, "accept");
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "length_of_peer")) {
        pair();
        struct sockaddr_in from = {0};
        socklen_t length = sizeof from;
        must(getpeername(server, (struct sockaddr *)&from, &length) == 0 && from.sin_port != 0, "getpeername");
        from.sin_port = 0;
        length = 2;
        must(getpeername(server, (struct sockaddr *)&from, &length) == 0 && from.sin_port == 0, "getpeername");
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "length_of_sender")) {
        pair();
        must(send(client, "hello", 5, 0) == 5, "send");
        struct sockaddr_in from = {0};
        socklen_t never_set = (socklen_t)-1;
        must(recvfrom(server, room, 5, 0, (struct sockaddr *)&from, &never_set) == -1 && errno == EINVAL, "recvfrom");
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "queue_full")) {
        listener = listening();
        must(listen(listener, 0) == 0, "listen");
        client = connected();
        int second = socket(AF_INET, SOCK_STREAM, 0), tries = 1;
        must(setsockopt(second, IPPROTO_TCP, TCP_SYNCNT, &tries, sizeof tries) == 0, "TCP_SYNCNT");
        must(connect(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == ETIMEDOUT, "connect");
        close(second);
        server = accept(listener, 0, 0);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "closed_window")) {
        pair();
        static char much[1 << 24];
        ssize_t took = send(client, much, sizeof much, MSG_DONTWAIT);
        must(took > 0 && took < (ssize_t)sizeof much, "send");
        struct tcp_info info;
        do {
            poll(0, 0, 50);
            socklen_t size = sizeof info;
            must(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
        } while (info.tcpi_probes == 0);
        poll(0, 0, 100);
        take(server, took);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "closed_window_elsewhere")) {
        // Whoever is to read waits for something else: here for octets of the wrong connection.
        pair();
        int first = server, wrong = connected(), other = accept(listener, 0, 0);
        static char much[1 << 24];
        if (fork() == 0) {
            char octet;
            close(client), close(wrong), close(listener);
            must(recv(other, &octet, 1, 0) == 1, "recv");
            while (recv(first, room, sizeof room, 0) > 0);
            end(other);
            close(first), close(other);
            _exit(0);
        }
        close(first), close(other);
        must(send(client, much, sizeof much, MSG_DONTWAIT) < (ssize_t)sizeof much, "send");
        struct tcp_info info;
        do {
            poll(0, 0, 50);
            socklen_t size = sizeof info;
            must(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size) == 0, "TCP_INFO");
        } while (info.tcpi_probes == 0);
        poll(0, 0, 100);
        must(send(wrong, "x", 1, 0) == 1, "send");
        close(client), close(wrong);
        must(wait(0) > 0, "wait");
        close(listener);
    } else if (!strcmp(name, "held_back")) {
        pair();
        int ways[2], there[2];
        must(pipe(ways) == 0 && pipe(there) == 0, "pipe");
        pid_t child = fork();
        if (child == 0) {
            close(client);
            close(listener);
            take(server, 10);
            must(send(server, "0123456789", 10, 0) == 10, "send");
            must(read(there[0], room, 1) == 1, "read");
            must(recv(server, room, 40, MSG_WAITALL) == 40, "recv");
            must(write(ways[1], "x", 1) == 1, "write");
            end(server);
            close(server);
            _exit(0);
        }
        close(server);
        must(send(client, "0123456789", 10, 0) == 10, "send");
        take(client, 10);
        must(send(client, "abcdefghij", 10, 0) == 10, "send");
        must(send(client, "klmnopqrstuvwxy", 15, 0) == 15, "send");
        must(send(client, "klmnopqrstuvwxy", 15, 0) == 15, "send");
        must(write(there[1], "x", 1) == 1 && read(ways[0], room, 1) == 1, "the other process");
        close(client);
        must(waitpid(child, 0, 0) == child, "waitpid");
        close(listener);
    } else if (!strcmp(name, "urgent")) {
        // The urgent octet is no part of the stream, and what comes after it is.
        pair();
        must(send(client, "abc", 3, 0) == 3 && send(client, "dX", 2, MSG_OOB) == 2, "send");
        struct pollfd urgent = {.fd = server, .events = POLLPRI};
        must(poll(&urgent, 1, 10000) == 1 && recv(server, room, 1, MSG_OOB) == 1 && *room == 'X', "MSG_OOB");
        take(server, 3), take(server, 1);
        must(send(client, "ef", 2, 0) == 2, "send");
        take(server, 2);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "corked")) {
        pair();
        int off = 0;
        must(setsockopt(client, IPPROTO_TCP, TCP_CORK, &on, sizeof on) == 0, "TCP_CORK");
        for (int n = 0; n < 4; n++) must(send(client, "hello", 5, 0) == 5, "send");
        must(setsockopt(client, IPPROTO_TCP, TCP_CORK, &off, sizeof off) == 0, "TCP_CORK");
        must(recv(server, room, 20, MSG_WAITALL) == 20, "recv");
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "half")) {
        pair();
        must(send(client, "hello", 5, 0) == 5, "send");
        shutdown(client, SHUT_WR);
        take(server, 5);
        end(server);
        must(send(server, "world", 5, 0) == 5, "send");
        take(client, 5);
        close(server);
        end(client);
        close(client);
        close(listener);
    } else if (!strcmp(name, "ports")) {
        // One port for all (IP_LOCAL_PORT_RANGE).
        unsigned range = 40000u | 40000u << 16;
        listener = listening();
        int second = socket(AF_INET, SOCK_STREAM, 0);
        client = socket(AF_INET, SOCK_STREAM, 0);
        must(setsockopt(client, IPPROTO_IP, 51, &range, sizeof range) == 0, "IP_LOCAL_PORT_RANGE");
        must(setsockopt(second, IPPROTO_IP, 51, &range, sizeof range) == 0, "IP_LOCAL_PORT_RANGE");
        must(connect(client, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        must(connect(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRNOTAVAIL, "connect");
        server = accept(listener, 0, 0);
        close(second);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "ports_waiting")) {
        // One port for all (IP_LOCAL_PORT_RANGE), and that is in TIME-WAIT.
        unsigned range = 40001u | 40001u << 16;
        pair();
        close(client);
        end(server);
        close(server);
        client = socket(AF_INET, SOCK_STREAM, 0);
        must(setsockopt(client, IPPROTO_IP, 51, &range, sizeof range) == 0, "IP_LOCAL_PORT_RANGE");
        must(connect(client, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        server = accept(listener, 0, 0);
        close(client);
        end(server);
        close(server);
        int second = socket(AF_INET, SOCK_STREAM, 0);
        must(setsockopt(second, IPPROTO_IP, 51, &range, sizeof range) == 0, "IP_LOCAL_PORT_RANGE");
        must(connect(second, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRNOTAVAIL, "connect");
        close(second);
        close(listener);
    } else if (!strcmp(name, "split")) {
        // There is room for all in the program, and not in the kernel.
        static char much[100000];
        int few = 4096;
        listener = listening();
        must(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &few, sizeof few) == 0, "SO_RCVBUF");
        client = connected();
        server = accept(listener, 0, 0);
        must(send(client, much, sizeof much, 0) == sizeof much, "send");
        for (ssize_t all = 0; all < (ssize_t)sizeof much;) {
            ssize_t got = recv(server, much, sizeof much, 0);
            must(got > 0, "recv");
            all += got;
        }
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "epolls")) {
        // What an epoll waits for, and then in vain, until a signal ends it.
        pair();
        int all = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = 77}, found = {0};
        must(epoll_ctl(all, EPOLL_CTL_ADD, server, &wanted) == 0, "epoll_ctl");
        wanted.data.u64 = 78;
        must(epoll_ctl(all, EPOLL_CTL_ADD, listener, &wanted) == 0, "epoll_ctl");
        must(send(client, "hello", 5, 0) == 5, "send");
        must(epoll_wait(all, &found, 1, 10000) == 1 && found.data.u64 == 77, "epoll_wait");
        take(server, 5);
        must(epoll_ctl(all, EPOLL_CTL_DEL, listener, 0) == 0, "epoll_ctl");
        wanted = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.u64 = 79};
        must(epoll_ctl(all, EPOLL_CTL_MOD, server, &wanted) == 0, "epoll_ctl");
        ualarm(50000, 0);
        epoll_wait(all, &found, 1, -1);
    } else if (!strcmp(name, "epolls_shared")) {
        // An epoll that a child has inherited, and what either of the two then asks for.
        pair();
        int all = epoll_create1(EPOLL_CLOEXEC), told[2];
        must(pipe(told) == 0, "pipe");
        struct epoll_event wanted = {.events = EPOLLIN, .data.u64 = 77}, found = {0};
        must(epoll_ctl(all, EPOLL_CTL_ADD, server, &wanted) == 0, "epoll_ctl");
        if (fork() == 0) {
            must(read(told[0], room, 1) == 1, "read");
            must(epoll_wait(all, &found, 1, 10000) == 1 && found.data.u64 == 77, "epoll_wait");
            take(server, 5);
            exit(0);
        }
        wanted.data.u64 = 78;
        must(epoll_ctl(all, EPOLL_CTL_ADD, listener, &wanted) == 0, "epoll_ctl");
        must(send(client, "hello", 5, 0) == 5 && write(told[1], "x", 1) == 1, "send");
        wait(0);
        close(client);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "epolls_once")) {
        // What was wanted once is not waited for any more, and what a call that failed asked for never was.
        pair();
        int all = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event wanted = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 77}, found = {0};
        must(epoll_ctl(all, EPOLL_CTL_ADD, server, &wanted) == 0, "epoll_ctl");
        struct epoll_event other = {.events = EPOLLIN, .data.u64 = 78};
        must(epoll_ctl(all, EPOLL_CTL_ADD, listener, &other) == 0, "epoll_ctl");
        must(send(client, "hello", 5, 0) == 5, "send");
        must(epoll_wait(all, &found, 1, 10000) == 1 && found.data.u64 == 77, "epoll_wait");
        other.events = EPOLLOUT | EPOLLEXCLUSIVE;
        must(epoll_ctl(all, EPOLL_CTL_MOD, listener, &other) == -1 && errno == EINVAL, "EINVAL");
        must(epoll_wait(all, &found, 1, 0) == 0, "epoll_wait");
        must(epoll_ctl(all, EPOLL_CTL_MOD, server, &wanted) == 0, "epoll_ctl");
        must(epoll_wait(all, &found, 1, 0) == 1 && found.data.u64 == 77, "epoll_wait");
        close(client);
        take(server, 5);
        end(server);
        close(server);
        close(listener);
    } else if (!strcmp(name, "executes")) {
        pair();
        fcntl(client, F_SETFD, FD_CLOEXEC);
        char number[16];
        snprintf(number, sizeof number, "%d", server);
        setenv("SERVER", number, 1);
        execl("/bin/sh", "sh", "-c", "eval \"exec cat <&$SERVER\"", (char *)0);
    } else if (!strcmp(name, "thread_executes")) {
        pair();
        fcntl(client, F_SETFD, FD_CLOEXEC);
        pthread_t waiter, other;
        must(pthread_create(&waiter, 0, waits, 0) == 0 && pthread_create(&other, 0, executes, 0) == 0, "pthread_create");
        pthread_join(waiter, 0);
    } else if (!strcmp(name, "serve")) {
        // Until somebody ends it: what comes on port 4321 goes back.
        listener = socket(AF_INET, SOCK_STREAM, 0);
        must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "setsockopt");
        address.sin_port = htons(4321);
        must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        must(listen(listener, 8) == 0, "listen");
        for (;;) {
            server = accept(listener, 0, 0);
            must(server >= 0, "accept");
            ssize_t got = recv(server, room, sizeof room, 0);
            must(got >= 0 && send(server, room, got, 0) == got, "send");
            end(server);
            close(server);
        }
    } else if (!strcmp(name, "visit")) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(4321);
        client = connected();
        must(send(client, "hello", 5, 0) == 5, "send");
        take(client, 5);
        close(client);
    } else if (!strcmp(name, "churn")) {
        // Short connections without end, between two processes.
        listener = listening();
        if (fork() == 0) {
            for (;;) {
                client = connected();
                must(send(client, "hello", 5, 0) == 5, "send");
                take(client, 5);
                end(client);
                close(client);
            }
        }
        for (;;) {
            server = accept(listener, 0, 0);
            take(server, 5);
            must(send(server, "world", 5, 0) == 5, "send");
            close(server);
        }
    } else if (!strcmp(name, "visit_badly")) {
        // What came back is left in the socket when it is closed, which resets the server; and it is closed once more.
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(4321);
        client = connected();
        must(send(client, "hello", 5, 0) == 5, "send");
        must(recv(client, room, 5, MSG_PEEK | MSG_WAITALL) == 5, "peek");
        close(client);
        close(client);
    } else if (!strcmp(name, "threads")) {
        // Threads that come and go beside a conversation.
        for (int n = 0; n < 20; n++) {
            pthread_t thread;
            must(pthread_create(&thread, 0, nothing, 0) == 0, "pthread_create");
            pthread_join(thread, 0);
        }
        right();
    } else {
        fprintf(stderr, "no such play: %s\n", name);
        exit(64);
    }
}

int main(int count, char **words) {
    for (int n = 1; n < count; n++) play(words[n]);
    return 0;
}
