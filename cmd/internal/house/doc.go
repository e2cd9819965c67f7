// Package house holds the test that the project's shape is what its design says: which folders there
// are at the top, and which package may import which. It has no code of its own.
package house
