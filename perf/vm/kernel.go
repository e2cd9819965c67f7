package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Kernel is a kernel with its modules, as a distribution's package lays them out.
type Kernel struct {
	Image   string // path of the bootable image
	Version string // as uname -r prints it

	modules map[string]string // name, with underscores, to path
	builtin map[string]bool   // names of what the image contains
}

// OpenKernel finds the one kernel below dir, which holds an unpacked kernel package: boot/vmlinuz-VERSION
// and lib/modules/VERSION, all modules uncompressed.
func OpenKernel(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("opening kernel in %s: %d files boot/vmlinuz-*, want one: remove the folder and run `make test-vm`, which fetches it anew", dir, len(images))
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := &Kernel{Image: images[0], Version: version, modules: map[string]string{}, builtin: map[string]bool{}}
	tree := filepath.Join(dir, "lib/modules", version)
	builtin, err := os.ReadFile(filepath.Join(tree, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("opening kernel %s: %w", version, err)
	}
	for line := range strings.Lines(string(builtin)) {
		k.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return k, k.findModules(tree)
}

func (k *Kernel) findModules(tree string) error {
	err := filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".ko" {
			k.modules[moduleName(path)] = path
		}
		return err
	})
	if err == nil && len(k.modules) == 0 {
		err = fmt.Errorf("no *.ko below %s", tree)
	}
	if err != nil {
		return fmt.Errorf("finding modules of kernel %s: %w", k.Version, err)
	}
	return nil
}

// moduleName is the name by which modules know each other: file names may have dashes for underscores.
func moduleName(path string) string {
	return underscored(strings.TrimSuffix(filepath.Base(path), ".ko"))
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }
