/* A call at the bottom of as many frames as the first argument says. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int deeper(int frames)
{
	int fd, below;

	if (frames > 1) {
		below = deeper(frames - 1);
		return below + 1;
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd < 0 ? -1000 : 1;
}

int main(int argc, char **argv)
{
	int frames = argc > 1 ? atoi(argv[1]) : 1;

	return deeper(frames) == frames ? 0 : 1;
}
