package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// checkUnlocked tries the lock that bbolt holds on its file while a server runs, and lets it go.
func checkUnlocked(dir string) error {
	file, err := os.Open(filepath.Join(dir, "member", "snap", "db"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new folder
	}
	if err != nil {
		return err
	}
	defer file.Close() // closing releases the lock as well
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errLocked
	case err != nil:
		return fmt.Errorf("trying its lock: %w", err)
	}
	return nil
}
