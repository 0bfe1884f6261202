"""What the API computes with the loaded model: pure functions of a `Held`, a request and a `Stop`."""
