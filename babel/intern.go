package babel

// interned keeps each value once, and counts who uses it. Number zero is none.
type interned[T comparable] struct {
	all     []internedValue[T]
	numbers map[T]uint32
	free    []uint32
}

type internedValue[T comparable] struct {
	value T
	users int32
}

// find is the number of a value that someone uses, or zero.
func (t *interned[T]) find(value T) uint32 { return t.numbers[value] }

func (t *interned[T]) at(number uint32) T { return t.all[number].value }

// use adds a user, and a value that was not there.
func (t *interned[T]) use(value T) uint32 {
	number := t.numbers[value]
	if number == 0 {
		number = t.add(value)
	}
	t.all[number].users++
	return number
}

func (t *interned[T]) add(value T) uint32 {
	if t.numbers == nil {
		t.numbers = make(map[T]uint32)
		t.all = make([]internedValue[T], 1)
	}
	if n := len(t.free); n > 0 {
		number := t.free[n-1]
		t.free = t.free[:n-1]
		t.all[number].value, t.numbers[value] = value, number
		return number
	}
	number := uint32(len(t.all))
	t.all = append(t.all, internedValue[T]{value: value})
	t.numbers[value] = number
	return number
}

// again adds a user to a value that has one.
func (t *interned[T]) again(number uint32) uint32 {
	if number != 0 {
		t.all[number].users++
	}
	return number
}

// drop takes a user away, and what nobody uses.
func (t *interned[T]) drop(number uint32) {
	if number == 0 {
		return
	}
	v := &t.all[number]
	if v.users--; v.users > 0 {
		return
	}
	delete(t.numbers, v.value)
	*v = internedValue[T]{}
	t.free = append(t.free, number)
}
