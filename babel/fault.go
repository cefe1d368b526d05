package babel

// Fault is a fault that is planted on purpose, for a test of the tests: checks
// that find nothing in an engine with a fault are worth nothing. It is zero in a
// product.
type Fault uint8

const (
	// FaultNone is an engine as it should be.
	FaultNone Fault = iota
	// FaultFeasibility takes every route for feasible: section 3.5.1 does not
	// hold, and there are loops.
	FaultFeasibility
	// FaultRetraction keeps silent about a route that is lost: neighbours go on
	// sending its packets until their routes expire.
	FaultRetraction
	// FaultSeqno answers seqno requests without a newer seqno: whoever starves
	// goes on starving.
	FaultSeqno
	// FaultSource announces routes of which the source table does not know: section
	// 3.7.3 does not hold, and what comes back is feasible.
	FaultSource
)

func (f Fault) String() string {
	return [...]string{"none", "feasibility", "retraction", "seqno", "source"}[f]
}
