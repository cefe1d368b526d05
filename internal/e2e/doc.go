// Package e2e holds tests only: scenarios in which the real programs run on
// hosts of the lab. Each uses the WireGuard that RE6ST_WG names (userspace
// unless told), so the kernel lane runs the same compiled tests, and ends with
// a leak census. What depends on timers is asserted with the row's bound times
// RE6ST_TIME_FACTOR; what is only measured is logged, in lines that begin with
// "measured:".
package e2e
