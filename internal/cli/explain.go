package cli

import (
	"github.com/spf13/cobra"
)

func (o *options) explainCommand() *cobra.Command {
	var knowledge []string
	var cf captureFlags
	c := &cobra.Command{
		Use:   "explain CAPTURE...|TEXT|FILE|-",
		Short: "Say who reset the connections in a capture and why, or what an error message means",
		Long: `explain reads packet captures (pcap and pcapng, plain or compressed, any size) and
says for each RST, each refused attempt and each connection that died in silence
who ended it, why, with which frames as proof, what it cost, and what to do.
Frames and streams are numbered as in Wireshark. Several captures of the same
traffic, taken at different places at the same time, are compared: what is
absent at one of them is proof.

It also reads error texts as some sixty programs write them (nginx, HAProxy,
Envoy, PostgreSQL, Kafka, kernels, cloud balancers, Go, Java, Node.js, Python,
.NET, curl, browsers ...), a log file with such lines, plain or in gzip, or
standard input with -. It says what a line proves and what it does not, which
causes fit, and the cheapest next step. A line never proves who sent a reset.`,
		Example: `  holdfast explain trace.pcapng
  holdfast explain client.pcap server.pcap --report for-the-provider.html
  ssh router tcpdump -w - port 443 | holdfast explain --follow -
  sudo holdfast explain --interface eth0 --only-harmful
  holdfast explain "read tcp 10.0.0.5:40122->10.0.0.7:5432: read: connection reset by peer"
  journalctl -u app | holdfast explain -`,
		Args: usage(func(c *cobra.Command, args []string) error {
			if cf.iface != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(c, args)
		}),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := o.loadBase(knowledge)
			if err != nil {
				return err
			}
			if err := cf.check(base); err != nil {
				return err
			}
			if cf.follow || cf.iface != "" {
				return o.followCapture(c.Context(), base, args, &cf)
			}
			captures, err := o.allCaptures(args)
			if err != nil {
				return err
			}
			if captures {
				return o.explainCaptures(c.Context(), base, args, &cf)
			}
			return o.explain(base, args)
		},
	}
	c.Flags().StringSliceVar(&knowledge, "knowledge", nil, "directory with causes of your own")
	cf.flags(c.Flags())
	return c
}

// allCaptures reports whether the arguments are captures. Captures and texts
// can not be mixed.
func (o *options) allCaptures(args []string) (bool, error) {
	n := 0
	for _, a := range args {
		if o.isCaptureFile(a) {
			n++
		}
	}
	if n == 0 || n == len(args) {
		return n > 0, nil
	}
	for _, a := range args {
		if !o.isCaptureFile(a) {
			return false, usageError("captures and texts in separate calls", "%s is not a capture, others are", a)
		}
	}
	return true, nil
}
