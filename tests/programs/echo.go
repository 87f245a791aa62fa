// An echo server and fifty clients in one process: nonblocking sockets, many goroutines, and splice where io.Copy uses it.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

const clients, rounds = 50, 10

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	var served, done sync.WaitGroup
	served.Add(clients)
	go func() {
		for n := 0; n < clients; n++ {
			connection, err := listener.Accept()
			check(err)
			go func() {
				defer served.Done()
				_, err := io.Copy(connection, connection)
				check(err)
				check(connection.Close())
			}()
		}
	}()
	var octets int64
	for n := 0; n < clients; n++ {
		done.Add(1)
		go func(size int) {
			defer done.Done()
			connection, err := net.Dial("tcp", listener.Addr().String())
			check(err)
			data := make([]byte, size)
			for round := 0; round < rounds; round++ {
				_, err := connection.Write(data)
				check(err)
				_, err = io.ReadFull(connection, data)
				check(err)
				atomic.AddInt64(&octets, int64(size))
			}
			check(connection.(*net.TCPConn).CloseWrite())
			_, err = io.Copy(io.Discard, connection)
			check(err)
			check(connection.Close())
		}(1000 + n*100)
	}
	done.Wait()
	served.Wait()
	fmt.Println(octets)
	os.Exit(7)
}
