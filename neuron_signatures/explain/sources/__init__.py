"""What is explained: the neurons of a run, of a bare folder of NeuronRecord files, or hand-written puzzles."""
