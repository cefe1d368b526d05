package status

// Doctor is the document of `re6stnode doctor`. It comes from the command itself,
// which asks the daemon where that runs.
type Doctor struct {
	SchemaVersion int       `json:"schema_version"`
	Running       bool      `json:"running"` // the daemon is
	Findings      []Finding `json:"findings"`
}

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	Code  string `json:"code"` // of status's health, or of the part that was looked at
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what an operator can do
}

// Level is how a finding is to be taken.
type Level string

// The levels.
const (
	Good    Level = "good"
	Notice  Level = "notice"  // to know, and no fault
	Problem Level = "problem" // something does not work as it should
)

// Problems counts the findings that are.
func (d Doctor) Problems() (n int) {
	for _, f := range d.Findings {
		if f.Level == Problem {
			n++
		}
	}
	return n
}
