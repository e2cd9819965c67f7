package vm

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"weft/perf/vm/guest"
)

// writeInitramfs packs the whole user space of the machine.
func (m Machine) writeInitramfs(w io.Writer) error {
	spec := guest.Spec{Program: "/test/program", Args: m.Args, Env: m.Env, Dir: "/test"}
	modules, err := m.Kernel.loadOrder(Modules)
	if err != nil {
		return err
	}
	a := &archive{w: w}
	a.copy("init", modeProgram, m.Init)
	a.copy("test/program", modeProgram, m.Program)
	for i, path := range modules {
		// Numbered: two folders may have modules of one name.
		name := fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path))
		a.copy(name, modeData, path)
		spec.Modules = append(spec.Modules, "/"+name)
	}
	if m.Testdata != "" {
		a.tree("test/testdata", m.Testdata)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	a.file(guest.SpecFile[1:], modeData, text)
	return a.close()
}

// tree adds a folder with all regular files below it.
func (a *archive) tree(name, from string) {
	a.folder(name)
	a.fail(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(from, path)
			a.copy(filepath.ToSlash(filepath.Join(name, rel)), modeData, path)
		}
		return err
	}))
}
