/* Waits for sockets in each way, with all that it hands to the kernel in static memory: first long enough to be looked at, then for moments. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MILLISECONDS = 1000000, LONG = 200, MANY = 300, ROUNDS = 4, MOMENTS = 300 };

static int listener, client, server, epoll;
static struct pollfd polled[MANY];
static fd_set readable, writable;
static struct timespec timeout;
static struct epoll_event found;
static pthread_t sender;

static void *sends_later(void *nothing) {
    struct timespec moment = {0, LONG * MILLISECONDS};
    nanosleep(&moment, 0);
    write(client, "o", 1);
    return nothing;
}

/* Asks for it anew, as the wait before has written there, too. */
static void prepare(long milliseconds) {
    for (int n = 0; n < MANY; n++)
        polled[n] = (struct pollfd){.fd = -1};
    polled[MANY - 10] = (struct pollfd){.fd = server, .events = POLLIN};
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(server, &readable);
    timeout = (struct timespec){milliseconds / 1000, milliseconds % 1000 * MILLISECONDS};
}

static void begin(void) {
    prepare(9000);
    pthread_create(&sender, 0, sends_later, 0);
}

static void end(void) {
    char octet;
    pthread_join(sender, 0);
    read(server, &octet, 1);
}

static void wait_in_each_way(void) {
    begin();
    poll(polled, MANY, -1);
    end();
    begin();
    syscall(SYS_ppoll, polled, MANY, &timeout, 0, 0);
    end();
    begin();
    syscall(SYS_pselect6, server + 1, &readable, &writable, 0, &timeout, 0);
    end();
    begin();
    syscall(SYS_epoll_pwait2, epoll, &found, 1, &timeout, 0, 0);
    end();
    prepare(LONG);
    poll(polled, MANY, LONG);
    syscall(SYS_pselect6, server + 1, &readable, 0, 0, &timeout, 0);
}

/* What lies in one place is another thing each time; how long it waits says which. */
static void wait_for_moments(void) {
    for (int n = 0; n < MOMENTS; n++) {
        polled[0] = (struct pollfd){.fd = server, .events = POLLIN};
        poll(polled, 1, 1);
        polled[0] = (struct pollfd){.fd = client, .events = POLLIN | POLLPRI};
        poll(polled, 1, 2);
        polled[0] = (struct pollfd){.fd = client, .events = POLLOUT};
        poll(polled, 1, 3);
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (void *)&address, length);
    listen(listener, 5);
    getsockname(listener, (void *)&address, &length);
    connect(client, (void *)&address, length);
    server = accept(listener, 0, 0);
    epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.fd = server}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
    for (int n = 0; n < ROUNDS; n++)
        wait_in_each_way();
    wait_for_moments();
    close(server);
    close(client);
    close(listener);
    return 0;
}
