"""The clothed person of the demo photo: body, clothes, hair, face and studio, made from the shipped body by program."""
