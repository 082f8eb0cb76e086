package resettest

func tlsFaults() []Fault {
	return []Fault{
		{
			Name: "tls-alert", Layer: "tls", stage: stageHello, run: runAlert, Doc: "The server answers the ClientHello with the fatal alert handshake_failure.",
			Truth: truth(No, No, notDone, No, Nobody, "alert then fin", "tls-alert"),
		},
		{
			Name: "tls-rst-hello", Layer: "tls", stage: stageHello, run: runAbortHello, Doc: "The server reads the ClientHello and aborts, as a filter does that dislikes a name.",
			Truth: truth(No, No, notDone, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "tls-fin-hello", Layer: "tls", stage: stageHello, run: runFinHello, Doc: "The server reads the ClientHello and closes in good order.",
			Truth: truth(No, No, notDone, No, Nobody, "fin", "eof unexpected-eof"),
		},
		{
			Name: "tls-alert-late", Layer: "tls", stage: stageHello, run: runAlertLate, Doc: "The server wants a client certificate (TLS 1.3). The client ends its handshake, and mostly sends the request, too, before it learns that none is not good enough.",
			Truth: truth(Any, No, notDone, No, Nobody, "alert then fin", "tls-alert epipe"),
		},
		{
			Name: "tls-rst-after-commit", Layer: "tls", stage: stageRequest, run: runAfterCommit, Doc: "As rst-after-commit, over TLS: no alert, no close_notify.",
			Truth: truth(Yes, Yes, done, No, ServerApp, "rst-ack", "reset"),
		},
		{
			Name: "tls-truncated", Layer: "tls", stage: stageRequest, run: runFinMidResponse, Params: []string{atAnswer}, Doc: "As fin-mid-response, over TLS: the FIN comes without close_notify, which is how a truncation attack looks.",
			Truth: truth(Yes, Yes, done, Some, Nobody, "fin", "unexpected-eof"),
		},
	}
}
