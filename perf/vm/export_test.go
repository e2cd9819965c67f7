package vm

// LoadOrder is for the tests that have a real kernel.
func LoadOrder(k *Kernel, names []string) ([]string, error) { return k.loadOrder(names) }
