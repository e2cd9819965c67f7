package express

// The programs are compiled once, here, and committed: building weft takes no clang. `make generate` does it
// again; TestProgramsAreCurrent notices when somebody forgot.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel lane bpf/lane.c -- -Wall -Wextra -Werror -Wno-unused-function
