// Package kernelmode holds desired kernel state as values: plan, diff, apply.
package kernelmode
