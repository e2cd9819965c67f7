package tunnel

// Messages of one receive. Each has a buffer for the largest datagram or train, of which only touched pages are
// resident.
const (
	receiveMessages = 64
	receiveFew      = 16   // while they are large: 1 MiB fits the second-level cache
	receiveSmall    = 2048 // bytes: mean length up to which they count as small
)

// nextReceive returns how many messages to ask for after got of them, of so many bytes in all, came where count
// were asked for. Segments that nobody merged on their way come one by one, 45 a superpacket: taken together,
// they make one superpacket again and not three, and three times fewer acknowledgements. Large ones are many
// bytes as they are, and more of them would fall out of the cache before they are written.
func nextReceive(count, got, bytes int) int {
	switch {
	case bytes > got*receiveSmall:
		return receiveFew
	case got == count:
		return receiveMessages
	}
	return count
}
