package express

// DetourFrame is for tests that send one from outside.
var DetourFrame = detourFrame
