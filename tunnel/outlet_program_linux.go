package tunnel

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// An outletSlot is what an outlet and its program tell each other about one frame: an element of an array
// map that is mapped into this process. Writing to a TAP device runs the program before write returns, so
// that the answer is there when it has.
type outletSlot struct {
	wire   uint32 // to the program: length of the largest IP packet that the frame falls into
	answer uint32 // from the program: outletRoute
}

// Offsets in outletSlot, and its size.
const (
	slotWire   = 0
	slotAnswer = 4
	slotBytes  = 8
)

// The program's stack, downwards: struct bpf_fib_lookup (include/uapi/linux/bpf.h), the map's key, and struct
// bpf_redir_neigh, which tells the next hop that the lookup has found.
const (
	fibBytes  = 64
	fib       = -fibBytes
	fibFamily = fib
	fibProto  = fib + 1
	fibLength = fib + 6
	fibIndex  = fib + 8
	fibSource = fib + 16
	fibTarget = fib + 32
	slotKey   = fib - 8
	hop       = slotKey - 24
	hopFamily = hop
	hopAddr   = hop + 4
	hopBytes  = 20

	fibSkipNeighbour = 4  // BPF_FIB_LOOKUP_SKIP_NEIGH: resolving it is bpf_redirect_neigh's affair
	skbIfindex       = 40 // offsetof(struct __sk_buff, ifindex)
	actionDrop       = 2  // TC_ACT_SHOT
)

// outletProgram sends every frame of the outlet's device to where the routes lead, in a dozen steps:
//
//	slot   = slots[last byte of the source MAC]
//	answer = slot.answer = bpf_fib_lookup(outer addresses, slot.wire)
//	answer == 0 ? bpf_redirect_neigh(device and next hop of the route) : drop
//
// It is written in instructions, since it is too short to be worth a compiler.
func outletProgram(slots *ebpf.Map) *ebpf.ProgramSpec {
	program := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R0, 0)}
	for at := int16(hop); at < 0; at += 8 {
		program = append(program, asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	program = append(program, loadBytes(outletSlotAt, slotKey, 1)...) // little-endian: the key's first byte
	program = append(program,
		asm.LoadMapPtr(asm.R1, slots.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, slotKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Reg(asm.R7, asm.R0),

		asm.StoreImm(asm.RFP, fibProto, protocolUDP, asm.Byte),
		asm.LoadMem(asm.R1, asm.R7, slotWire, asm.Word), asm.StoreMem(asm.RFP, fibLength, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.R6, skbIfindex, asm.Word), asm.StoreMem(asm.RFP, fibIndex, asm.R1, asm.Word),
	)
	// The version nibble tells the family.
	program = append(program, loadBytes(ethernetLen, fibFamily, 1)...)
	program = append(program,
		asm.LoadMem(asm.R1, asm.RFP, fibFamily, asm.Byte), asm.RSh.Imm(asm.R1, 4),
		asm.JEq.Imm(asm.R1, 6, "six"),
		asm.StoreImm(asm.RFP, fibFamily, unix.AF_INET, asm.Byte),
	)
	program = append(program, loadBytes(ethernetLen+ipv4Source, fibSource, 4)...)
	program = append(program, loadBytes(ethernetLen+ipv4Destination, fibTarget, 4)...)
	program = append(program, asm.Ja.Label("lookup"), asm.StoreImm(asm.RFP, fibFamily, unix.AF_INET6, asm.Byte).WithSymbol("six"))
	program = append(program, loadBytes(ethernetLen+ipv6Source, fibSource, 16)...)
	program = append(program, loadBytes(ethernetLen+ipv6Destination, fibTarget, 16)...)
	program = append(program,
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("lookup"), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, fib),
		asm.Mov.Imm(asm.R3, fibBytes), asm.Mov.Imm(asm.R4, fibSkipNeighbour),
		asm.FnFibLookup.Call(),
		asm.StoreMem(asm.R7, slotAnswer, asm.R0, asm.Word),
		asm.JNE.Imm(asm.R0, 0, "drop"),

		// The lookup has put the gateway in the place of the target, if there is one, and its family.
		asm.LoadMem(asm.R1, asm.RFP, fibFamily, asm.Byte), asm.StoreMem(asm.RFP, hopFamily, asm.R1, asm.Word),
	)
	for at := int16(0); at < 16; at += 4 {
		program = append(program, asm.LoadMem(asm.R1, asm.RFP, fibTarget+at, asm.Word), asm.StoreMem(asm.RFP, hopAddr+at, asm.R1, asm.Word))
	}
	program = append(program,
		asm.LoadMem(asm.R1, asm.RFP, fibIndex, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, hop), asm.Mov.Imm(asm.R3, hopBytes), asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, actionDrop).WithSymbol("drop"),
		asm.Return(),
	)
	// bpf_fib_lookup is for programs whose license is compatible with the kernel's.
	return &ebpf.ProgramSpec{Name: "weft_outlet", Type: ebpf.SchedCLS, Instructions: program, License: "Dual BSD/GPL"}
}

// loadBytes copies n bytes of the frame onto the stack.
func loadBytes(from, to, n int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, from),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, to), asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
	}
}
