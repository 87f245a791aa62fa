/* Makes each kind of call that is watched on a TCP socket once, and others in between; what it hands to the kernel lies on its stack. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int listener, client, server;

static void wait_in_each_way(void) {
    struct pollfd polled = {server, POLLIN, 0};
    struct timespec second = {1, 0};
    struct timeval also = {1, 0};
    fd_set set;
    struct epoll_event event = {EPOLLIN, {.fd = server}};
    poll(&polled, 1, 1000);
    ppoll(&polled, 1, &second, 0);
    FD_ZERO(&set);
    FD_SET(server, &set);
    select(server + 1, &set, 0, 0, &also);
    FD_ZERO(&set);
    FD_SET(server, &set);
    pselect(server + 1, &set, 0, 0, &second, 0);
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
    epoll_wait(epoll, &event, 1, 1000);
    epoll_pwait(epoll, &event, 1, 1000, 0);
    close(epoll);
}

static void talk_in_each_way(void) {
    char octets[64] = "sixty-four octets";
    struct iovec piece = {octets, 10};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    write(client, octets, 10);
    wait_in_each_way();
    read(server, octets, 10);
    writev(client, &piece, 1);
    readv(server, &piece, 1);
    pwritev2(client, &piece, 1, -1, 0);
    preadv2(server, &piece, 1, -1, 0);
    send(client, octets, 10, MSG_NOSIGNAL);
    recv(server, octets, 10, MSG_WAITALL);
    sendto(client, octets, 10, 0, 0, 0);
    recvfrom(server, octets, 10, 0, 0, 0);
    sendmsg(client, &message, 0);
    recvmsg(server, &message, 0);
    sendmmsg(client, &messages, 1, 0);
    recvmmsg(server, &messages, 1, 0, 0);
    int file = open("/proc/self/exe", O_RDONLY), pipes[2];
    sendfile(client, file, 0, 10);
    read(server, octets, 10);
    pipe(pipes);
    write(pipes[1], octets, 10);
    splice(pipes[0], 0, client, 0, 10, 0);
    read(server, octets, 10);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (void *)&address, length);
    getsockname(listener, (void *)&address, &length);
    listen(listener, 5);
    connect(client, (void *)&address, length);
    server = accept4(listener, (void *)&address, &length, SOCK_CLOEXEC);
    getpeername(server, (void *)&address, &length);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    length = sizeof on;
    getsockopt(client, SOL_SOCKET, SO_ERROR, &on, &length);
    talk_in_each_way();
    close(dup(client));
    dup2(client, 20);
    dup3(client, 21, O_CLOEXEC);
    close(fcntl(client, F_DUPFD, 30));
    close_range(20, 21, 0);
    shutdown(client, SHUT_WR);
    char octet;
    read(server, &octet, 1);
    close(server);
    close(client);
    close(listener);
    return 0;
}
