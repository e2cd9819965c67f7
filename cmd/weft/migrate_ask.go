package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// An answer is what an operator makes of a step.
type answer int

const (
	answerNo  answer = iota // stop here
	answerYes               // this one
	answerAll               // and those that follow
)

// askOn returns a function that asks one question after the other. Ctrl-C ends the context, and the
// question with it: the read behind it is left alone, since the program ends.
func askOn(in io.Reader, out io.Writer) func(context.Context, string) (answer, error) {
	lines := make(chan string)
	reader := bufio.NewReader(in)
	return func(ctx context.Context, question string) (answer, error) {
		for {
			if _, err := fmt.Fprintf(out, "%s? [y]es, [a]ll that follow too, [n]o: ", question); err != nil {
				return answerNo, err
			}
			go func() {
				line, err := reader.ReadString('\n')
				if err != nil && line == "" {
					line = "n" // the terminal has gone
				}
				lines <- line
			}()
			select {
			case <-ctx.Done():
				fmt.Fprintln(out)
				return answerNo, context.Cause(ctx)
			case line := <-lines:
				switch strings.ToLower(strings.TrimSpace(line)) {
				case "y", "yes":
					return answerYes, nil
				case "a", "all":
					return answerAll, nil
				case "n", "no", "q", "quit":
					return answerNo, nil
				}
			}
		}
	}
}
