package agent

import "container/list"

// lru is a map of at most limit entries: whoever is let in last puts out the one that was used longest ago. Whatever an
// outsider can make us remember is kept in one of these. Its owner holds the lock.
type lru[K comparable, V any] struct {
	limit   int
	order   *list.List // front: used last
	entries map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: max(limit, 1), order: list.New(), entries: make(map[K]*list.Element)}
}

// get also makes the entry the one that was used last.
func (l *lru[K, V]) get(k K) (V, bool) {
	e, ok := l.entries[k]
	if !ok {
		var zero V
		return zero, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// put returns what had to leave: the former value of k, or the oldest entry.
func (l *lru[K, V]) put(k K, v V) (out V, evicted bool) {
	if e, ok := l.entries[k]; ok {
		entry := e.Value.(*lruEntry[K, V])
		out, entry.value = entry.value, v
		l.order.MoveToFront(e)
		return out, true
	}
	l.entries[k] = l.order.PushFront(&lruEntry[K, V]{key: k, value: v})
	if l.order.Len() <= l.limit {
		return out, false
	}
	oldest := l.order.Back().Value.(*lruEntry[K, V])
	l.remove(oldest.key)
	return oldest.value, true
}

func (l *lru[K, V]) remove(k K) {
	if e, ok := l.entries[k]; ok {
		l.order.Remove(e)
		delete(l.entries, k)
	}
}

// removeIf removes the entries that match and returns their values.
func (l *lru[K, V]) removeIf(match func(K, V) bool) []V {
	var out []V
	for k, e := range l.entries {
		if v := e.Value.(*lruEntry[K, V]).value; match(k, v) {
			l.remove(k)
			out = append(out, v)
		}
	}
	return out
}

func (l *lru[K, V]) len() int { return l.order.Len() }
