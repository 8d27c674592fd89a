"""Search quality: the whole of Quarry on questions whose answers are known, beside what else there is."""
