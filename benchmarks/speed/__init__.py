"""Speed and memory of whole processes: what a person with a stopwatch and a system monitor would see."""
