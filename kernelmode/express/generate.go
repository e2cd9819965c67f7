package express

// The programs are compiled once, here, and committed: building weft takes no clang. `make generate` does it
// again; TestProgramsAreCurrent notices when somebody forgot. Version 3 of the instruction set is 5.1's.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel lane bpf/lane.c -- -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-function
//go:generate sh -c "cat bpf/*.h bpf/*.c | sha256sum | cut -d' ' -f1 > bpf/sources.sha256"
//go:generate sh -c "clang --version | head -n 1 > bpf/clang.version"
