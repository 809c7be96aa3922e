# An encoder of others, with its own weights, tokenizer, spectrogram and pictures. Tests
# put the folder or hub id that they are given in the place of `path`.
num_frames = 16  # of each clip, evenly spaced
sample_rate = 48000  # Hz, of CLAP and PE-AV
window = 10.0  # s of sound

model = dict(type='PeerEncoder', path='facebook/pe-av-base-16-frame')

# frames of any size: the peer's processor brings them to its own
peer_frames = dict(type='LoadFrames', num_frames=num_frames, pick='all')
peer_sound = dict(type='LoadAudio', seconds=window, sample_rate=sample_rate)
peer_loader = dict(batch_size=16, collate_fn=dict(type='pseudo_collate'))

test_cfg = dict()
