// The servers of bench/io in Go, with a sync.Pool of byte slices. Arguments: uploads; frames; proxy
// PORT, which lets the bytes go through the pool; splice PORT, which leaves them to the kernel, as
// io.Copy between two connections does. Talks to its parent as bench/child.ts says.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const most = 1 << 20

func pool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { bytes := make([]byte, size); return &bytes }}
}

var bodies, pages = pool(most), pool(64 << 10)

func upload(response http.ResponseWriter, request *http.Request) {
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	if request.ContentLength < 1 || request.ContentLength > most {
		http.Error(response, "too large", http.StatusRequestEntityTooLarge)
		return
	}
	body := (*buffer)[:request.ContentLength]
	if _, err := io.ReadFull(request.Body, body); err != nil {
		http.Error(response, "incomplete", http.StatusBadRequest)
		return
	}
	fmt.Fprint(response, len(body)+int(body[len(body)-1]))
}

// Hides ReadFrom, by which io.Copy would leave the bytes to the kernel.
type through struct{ io.Writer }

func pass(from, to *net.TCPConn, splice bool) {
	if splice {
		io.Copy(to, from)
	} else {
		buffer := pages.Get().(*[]byte)
		defer pages.Put(buffer)
		io.CopyBuffer(through{to}, struct{ io.Reader }{from}, *buffer)
	}
	to.CloseWrite()
}

func proxy(client *net.TCPConn, port string, splice bool) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return
	}
	defer conn.Close()
	upstream := conn.(*net.TCPConn)
	done := make(chan struct{})
	go func() {
		pass(client, upstream, splice)
		close(done)
	}()
	pass(upstream, client, splice)
	<-done
}

func frames(conn *net.TCPConn) {
	reader := bufio.NewReaderSize(conn, 64<<10)
	head, reply := make([]byte, 4), make([]byte, 4)
	for {
		if _, err := io.ReadFull(reader, head); err != nil {
			return
		}
		buffer := pages.Get().(*[]byte)
		frame := (*buffer)[:binary.BigEndian.Uint32(head)]
		_, err := io.ReadFull(reader, frame)
		reply[0] = frame[len(frame)-1]
		pages.Put(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

func serve(listener net.Listener, handle func(conn *net.TCPConn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			handle(conn.(*net.TCPConn))
		}()
	}
}

func peakBytes() int {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _ := strconv.Atoi(strings.Fields(rest)[0])
	return 1024 * kib
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	switch kind := os.Args[1]; kind {
	case "uploads":
		go http.Serve(listener, http.HandlerFunc(upload))
	case "frames":
		go serve(listener, frames)
	default:
		go serve(listener, func(conn *net.TCPConn) {
			proxy(conn, os.Args[2], kind == "splice")
		})
	}
	fmt.Fprintf(os.Stderr, "{\"port\":%d}\n", listener.Addr().(*net.TCPAddr).Port)
	for command := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(command); err != nil {
			return
		}
		var usage syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		micros := (usage.Utime.Nano() + usage.Stime.Nano()) / 1000
		fmt.Fprintf(os.Stderr, "{\"cpuMicros\":%d,\"peakBytes\":%d}\n", micros, peakBytes())
	}
}
