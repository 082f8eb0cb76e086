// Package failsafe gives failsafe-go a retry policy that decides by the verdict
// of package steady instead of by the text of the error: what may have been
// executed is not repeated.
//
//	policy := failsafe.NewRetryPolicy(failsafe.Options{})
//	client := &http.Client{Transport: failsafehttp.NewRoundTripper(transport, policy)}
//
// The transport below must give verdicts: a *steady.Transport with Attempts 1,
// so that only one of the two retries. To debug it listen with OnRetry and
// OnAbort of the builder.
package failsafe

import (
	"net/http"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/holdfast-project/holdfast/steady"
)

// Options configure the policy. The zero value is ready.
type Options struct {
	MaxRetries int // default 2
	Backoff    steady.Backoff
	Budget     *steady.Budget // default: an own one
}

// NewRetryPolicy returns a policy for requests of any method: it repeats what
// was proved not sent or not delivered.
func NewRetryPolicy(o Options) retrypolicy.RetryPolicy[*http.Response] {
	return NewBuilder[*http.Response](o).Build()
}

// NewBuilder returns a builder with that rule, for other results and more
// options. It handles errors only.
func NewBuilder[R any](o Options) retrypolicy.Builder[R] {
	if o.MaxRetries == 0 {
		o.MaxRetries = 2
	}
	if o.Budget == nil {
		o.Budget = &steady.Budget{}
	}
	return retrypolicy.NewBuilder[R]().
		WithMaxRetries(o.MaxRetries).
		HandleIf(func(_ R, err error) bool { return err != nil }).
		AbortIf(func(_ R, err error) bool {
			return err != nil && !(steady.VerdictOf(err).SafeToRetry() && o.Budget.Take())
		}).
		ReturnLastFailure().
		WithDelayFunc(func(e failsafe.ExecutionAttempt[R]) time.Duration { return o.Backoff.Wait(max(1, e.Attempts())) })
}
