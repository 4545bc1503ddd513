from reka_cli import Client, Reka

client = Client(provider=Reka)          # optional when the model is "reka-core"
completion = client.chat.completions.create(
    model="reka-core",
    messages=[{"role": "user", "content": "What can you see in the image ?"}],
    stream=True,
    image=open("docs/images/cat.jpeg", "rb"),   # an open binary file, a path, or bytes
)
for message in completion:
    print(message.choices[0].delta.content or "", end="")
