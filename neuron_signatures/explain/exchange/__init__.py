"""Explanations in the formats of other tools: OpenAI's, delphi's and Neuronpedia's. A reader and a writer for each."""
