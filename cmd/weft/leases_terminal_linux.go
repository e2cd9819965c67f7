package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// resizeSignal comes when the terminal's window has another size.
const resizeSignal = unix.SIGWINCH

// windowSize asks the terminal for its size; false when out is none. One that doesn't know its size,
// as a serial line, counts as 80 by 24.
func windowSize(out io.Writer) (window, bool) {
	file, ok := out.(*os.File)
	if !ok {
		return window{}, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return window{}, false
	}
	if size.Col == 0 || size.Row == 0 {
		return window{columns: 80, rows: 24}, true
	}
	return window{columns: int(size.Col), rows: int(size.Row)}, true
}
