"""Records of neurons in the formats of other tools: NeuronRecord files, Neuronpedia batches."""
