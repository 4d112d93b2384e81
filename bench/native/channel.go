// A pool as Go programs write it: a buffered channel of blocks. Argument: block size. Prints one
// line of JSON: nanoseconds for one operation.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

const held = 256

func measure(run func(n int)) float64 {
	const slice = 100 * time.Millisecond
	for n := 64; ; {
		start := time.Now()
		run(n)
		took := time.Since(start)
		if took >= slice {
			return float64(took.Nanoseconds()) / float64(n)
		}
		times := 1.2 * float64(slice) / float64(max(took, 10*time.Microsecond))
		n = int(float64(n)*min(8, times)) + 1
	}
}

func max(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}

func min(a, b float64) float64 {
	if a < b {
		return a
	}
	return b
}

func main() {
	size, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	pool := make(chan []byte, 2*held)
	for i := 0; i < 2*held; i++ {
		pool <- make([]byte, size)
	}
	cycle := measure(func(n int) {
		for i := 0; i < n; i++ {
			block := <-pool
			block[0] = byte(i)
			pool <- block
		}
	})
	var kept [held][]byte
	for i := range kept {
		kept[i] = <-pool
	}
	swap := measure(func(n int) {
		seed := uint32(1)
		for i := 0; i < n; i++ {
			seed = (seed*1103515245 + 12345) & 0x7fffffff
			at := (seed >> 8) % held
			pool <- kept[at]
			block := <-pool
			block[0] = byte(i)
			kept[at] = block
		}
	})
	fmt.Printf("{\"cycle\": %.3f, \"held\": %.3f}\n", cycle, swap)
}
