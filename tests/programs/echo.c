/* An echo server and its client in two threads: each call on a line of its own. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;

static void *serve(void *unused) {
    char room[100];
    int connection = accept(listener, 0, 0);
    ssize_t got = recv(connection, room, sizeof room, 0);
    if (got > 0)
        send(connection, room, got, 0);
    recv(connection, room, sizeof room, 0);
    close(connection);
    return unused;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char room[5];
    pthread_t server;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 5);
    getsockname(listener, (struct sockaddr *)&address, &size);
    pthread_create(&server, 0, serve, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    connect(client, (struct sockaddr *)&address, sizeof address);
    send(client, "hello", 5, 0);
    recv(client, room, sizeof room, MSG_WAITALL);
    close(client);
    pthread_join(server, 0);
    close(listener);
    return 0;
}
