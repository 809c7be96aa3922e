from media_files import write_rows

from coavt_mm.datasets import AVTDataset
from coavt_mm.preparation import leaks
from coavt_mm.preparation.leaks import find_leaks, write_exclusion_list

A, B, C = 'aaaaaaaaaaa', 'b_000000030', 'Ccccccccccc'


def test_ids_with_and_without_start_become_an_exclusion_list(tmp_path):
    train = [f'{A}_000030', f'Y{B}', C, 'own_000010', 'ddddddddddd']
    test = [A, f'{B}_30.000_40.000', 'c' * 11, 'own']
    train = write_rows(
        tmp_path / 'train.jsonl', [{'id': x, 'clip': 'x.mp4'} for x in train]
    )
    test = write_rows(
        tmp_path / 'test.jsonl', [{'id': x, 'clip': 'y.mp4'} for x in test]
    )
    found = find_leaks(train, test)
    assert found == {
        f'{A}_000030': A, f'Y{B}': f'{B}_30.000_40.000', 'own_000010': 'own'
    }  # fmt: skip
    write_exclusion_list(tmp_path / 'lists/leak.txt', found, train, test)
    dataset = AVTDataset(str(train), exclude=str(tmp_path / 'lists/leak.txt'))
    kept = [dataset.get_data_info(i)['sample_id'] for i in range(len(dataset))]
    assert kept == [C, 'ddddddddddd']
    assert dataset.metainfo['excluded'] == 3


def test_content(tmp_path):
    for name, content in (('a', b'same'), ('b', b'same'), ('c', b'else'), ('d', b'x')):
        (tmp_path / name).write_bytes(content)
    train = write_rows(
        tmp_path / 'train.jsonl', [{'id': f'train {x}', 'clip': x} for x in 'acd']
    )
    test = write_rows(
        tmp_path / 'test.jsonl', [{'id': f'test {x}', 'clip': x} for x in ('b', 'no')]
    )
    assert find_leaks(train, test) == {}
    assert find_leaks(train, test, content=True) == {'train a': 'test b'}


def test_what_is_not_on_disk_is_not_compared_and_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(leaks, 'print_log', lambda text, **_: said.append(text))
    (tmp_path / 'a').write_bytes(b'same')
    train = write_rows(tmp_path / 'train.jsonl', [{'id': 'x', 'clip': 'a'}])
    rows = [{'id': 'y', 'clip': 'gone'}, {'id': 'z', 'clip': 'a'}]
    test = write_rows(tmp_path / 'test.jsonl', rows)
    assert find_leaks(train, test, content=True) == {'x': 'z'}
    assert said == ['1 of 2 test clips are not on disk: their bytes were not compared']


def test_ids_of_all_kinds_come_back_from_an_exclusion_list(tmp_path):
    names = ['#1 hit', '\\x', 'a b', 'é', ' spaced ']
    train = write_rows(
        tmp_path / 'train.jsonl', [{'id': x, 'clip': 'x.mp4'} for x in [*names, 'own']]
    )
    found = find_leaks(train, train)
    del found['own']
    write_exclusion_list(tmp_path / 'leak.txt', found, train, train)
    dataset = AVTDataset(str(train), exclude=str(tmp_path / 'leak.txt'))
    assert [dataset.get_data_info(i)['sample_id'] for i in range(len(dataset))] == [
        'own'
    ]


def test_lists_with_a_mark_reach_the_data_set(tmp_path):
    rows = [{'id': x, 'clip': 'x.mp4', 'labels': ['dog']} for x in 'abc']
    train = write_rows(tmp_path / 'train.jsonl', rows)
    (tmp_path / 'ids.txt').write_text('\ufeffa\r\nb\r\n', encoding='utf-8', newline='')
    (tmp_path / 'classes.txt').write_text('\ufeffdog\ncat\n', encoding='utf-8')
    dataset = AVTDataset(
        str(train),
        exclude=str(tmp_path / 'ids.txt'),
        classes=str(tmp_path / 'classes.txt'),
    )
    row = dataset.get_data_info(0)
    assert (len(dataset), row['sample_id'], row['gt_label']) == (1, 'c', [0])
    assert dataset.metainfo['excluded'] == 2
