package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openPort opens a serial port that passes every byte as it is.
func openPort(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening serial port: %w", err)
	}
	fd := int(file.Fd()) // blocking from here on: the writers are a child and say
	modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		modes.Oflag &^= unix.OPOST // no \r in front of \n
		modes.Lflag &^= unix.ECHO
		err = unix.IoctlSetTermios(fd, unix.TCSETS, modes)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("setting up serial port %s: %w", path, err)
	}
	return file, nil
}

// drain waits until the port has sent everything (tcdrain), and closes it.
func drain(port *os.File) {
	unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
	port.Close()
}

// say writes the status line. Without its port there is nobody to tell; outside, no status is a failure.
func say(status string) {
	port, err := openPort(statusPort)
	if err != nil {
		fmt.Println(err, status) // the console
		return
	}
	port.WriteString(status)
	drain(port)
}
