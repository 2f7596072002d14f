"""What a training run trains, part by part: each adds its versions, winners and sentences to one outcome."""
