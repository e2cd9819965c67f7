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
	lookup uint32 // to the program: flags of bpf_fib_lookup, which tell too how the frame leaves
	answer uint32 // from the program: outletRoute
	_      uint32 // elements of an array map stand a multiple of 8 bytes apart (array_map_alloc)
}

// Offsets in outletSlot, and its size.
const (
	slotWire   = 0
	slotLookup = 4
	slotAnswer = 8
	slotBytes  = 16
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
	fibOurMAC = fib + 52
	fibMAC    = fib + 58 // of the next hop
	slotKey   = fib - 8
	hop       = slotKey - 24
	hopFamily = hop
	hopAddr   = hop + 4
	hopBytes  = 20

	fibSkipNeighbour = 4  // BPF_FIB_LOOKUP_SKIP_NEIGH: resolving it is bpf_redirect_neigh's affair
	fibNoNeighbour   = 7  // BPF_FIB_LKUP_RET_NO_NEIGH
	skbIfindex       = 40 // offsetof(struct __sk_buff, ifindex)
	actionDrop       = 2  // TC_ACT_SHOT
)

// outletProgram sends every frame of the outlet's device to where the routes lead, in two dozen steps:
//
//	slot   = slots[last byte of the source MAC]
//	answer = slot.answer = bpf_fib_lookup(outer addresses, slot.wire, slot.lookup)
//	answer != 0                 ? drop
//	next hop's MAC isn't known  ? bpf_redirect_neigh(device and next hop of the route)
//	otherwise                   ? bpf_clone_redirect(device), and drop the original
//
// The clone is for underlays that the kernel segments in front of. What comes from a TAP's descriptor belongs to the TAP's
// socket, and so does the last segment of it (skb_segment), which GRO on the other end of a veth therefore takes for
// another flow's and lets overtake all the others. A clone belongs to nobody.
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
		asm.LoadMem(asm.R8, asm.R7, slotLookup, asm.Word),
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
		asm.Mov.Imm(asm.R3, fibBytes), asm.Mov.Reg(asm.R4, asm.R8),
		asm.FnFibLookup.Call(),
		asm.JNE.Imm(asm.R0, fibNoNeighbour, "answer"),
		asm.Mov.Imm(asm.R0, 0), asm.Mov.Imm(asm.R8, fibSkipNeighbour),
		asm.StoreMem(asm.R7, slotAnswer, asm.R0, asm.Word).WithSymbol("answer"),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.JNE.Imm(asm.R8, 0, "neighbour"),
	)
	program = append(program, sendClone()...)
	program = append(program,
		// The lookup has put the gateway in the place of the target, if there is one, and its family.
		asm.LoadMem(asm.R1, asm.RFP, fibFamily, asm.Byte).WithSymbol("neighbour"), asm.StoreMem(asm.RFP, hopFamily, asm.R1, asm.Word),
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

// sendClone gives a clone of the frame to the device of the route, with the MAC addresses that the lookup has found.
func sendClone() asm.Instructions {
	var out asm.Instructions
	for at := int16(0); at < 6; at += 2 {
		out = append(out,
			asm.LoadMem(asm.R1, asm.RFP, fibMAC+at, asm.Half), asm.StoreMem(asm.RFP, hop+at, asm.R1, asm.Half),
			asm.LoadMem(asm.R1, asm.RFP, fibOurMAC+at, asm.Half), asm.StoreMem(asm.RFP, hop+6+at, asm.R1, asm.Half),
		)
	}
	return append(out,
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, hop), asm.Mov.Imm(asm.R4, 12), asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "neighbour"),
		asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMem(asm.R2, asm.RFP, fibIndex, asm.Word), asm.Mov.Imm(asm.R3, 0),
		asm.FnCloneRedirect.Call(),
		asm.Ja.Label("drop"),
	)
}

// loadBytes copies n bytes of the frame onto the stack.
func loadBytes(from, to, n int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, from),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, to), asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
	}
}
