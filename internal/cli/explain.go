package cli

import (
	"github.com/spf13/cobra"
)

func (o *options) explainCommand() *cobra.Command {
	var knowledge []string
	var cf captureFlags
	var tf textFlags
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
			if err := tf.checkFacts(); err != nil {
				return err
			}
			if cf.follow || cf.iface != "" {
				return o.followCapture(c.Context(), base, args, &cf)
			}
			captures, texts, err := o.sortArgs(args)
			if err != nil {
				return err
			}
			if len(captures) > 0 {
				err = o.explainCaptures(c.Context(), base, captures, &cf)
			}
			if len(texts) > 0 && err == nil {
				tf.knowledge = knowledge
				err = o.explain(base, texts, &tf)
			}
			return err
		},
	}
	c.Flags().StringSliceVar(&knowledge, "knowledge", nil, "directory with causes of your own, and with sentences of logs in lines/*.yaml")
	c.Flags().StringArrayVar(&tf.facts, "fact", nil, "a circumstance as name=value, such as idle_s=350 or always=false; several may be given (holdfast facts symptom)")
	c.Flags().BoolVar(&tf.ask, "ask", false, "ask what tells the causes of a text apart, one question at a time")
	c.Flags().StringVar(&tf.since, "since", "", "only lines of a log from this time on: 2026-11-30T14:00:00Z, 14:00 or 2h (ago)")
	c.Flags().StringVar(&tf.until, "until", "", "only lines of a log until this time")
	cf.flags(c.Flags())
	return c
}

// sortArgs tells captures from texts and logs. Both in one call are two
// documents, which only lines of JSON and text can be.
func (o *options) sortArgs(args []string) (captures, texts []string, err error) {
	for _, a := range args {
		if o.isCaptureFile(a) {
			captures = append(captures, a)
		} else {
			texts = append(texts, a)
		}
	}
	if len(captures) > 0 && len(texts) > 0 && (o.output == "json" || o.output == "yaml") {
		return nil, nil, usageError("-o ndjson, or captures and texts in separate calls", "captures and texts together are no single document")
	}
	return captures, texts, nil
}
