"""What task vectors are worth: behaviours trained apart, added, merged, scaled, negated, and applied live."""
