"""`make bench`: Threadkeep beside its peers, bulk and reads, growth, and a stack at rest."""
